package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// soak is for those who have more time: FIRN_SOAK=1.
func soak() bool { return os.Getenv("FIRN_SOAK") != "" }

// TestStoreFaults makes nights over lines that are bad in all the ways that
// heal. Nobody but the log notices.
func TestStoreFaults(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]func(*badLine){
		"slow answers": func(l *badLine) { l.toxic("latency", 1, map[string]int{"latency": 25, "jitter": 20}) },
		"narrow":       func(l *badLine) { l.toxic("bandwidth", 1, map[string]int{"rate": 8000}) },
		"small packets": func(l *badLine) {
			l.toxic("slicer", 1, map[string]int{"average_size": 16000, "size_variation": 8000, "delay": 50})
		},
		"cut short":      func(l *badLine) { l.toxic("limit_data", 0.3, map[string]int{"bytes": 1 << 20}) },
		"reset at times": func(l *badLine) { l.toxic("reset_peer", 0.3, map[string]int{"timeout": 15}) },
		"reset inside":   func(l *badLine) { l.set(sometimes(0.3, resetAnywhere)) },
		"storm":          func(l *badLine) { l.set(sometimes(0.3, refuse)) },
		"all at once": func(l *badLine) {
			l.toxic("latency", 0.5, map[string]int{"latency": 10, "jitter": 10})
			l.toxicOf("downstream", "limit_data", 0.1, map[string]int{"bytes": 2 << 20})
			l.set(sometimes(0.15, func(l *badLine, w http.ResponseWriter, r *http.Request) {
				[]treatment{refuse, resetAnywhere}[time.Now().UnixNano()%2](l, w, r)
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, l := newFaultyNights(t)
			if name == "reset inside" { // toxiproxy would not pass on how a connection ends
				n.useEndpoint(l.front)
			}
			rounds := 2
			if soak() {
				rounds = 10
			}
			bad(l)
			for range rounds {
				n.backUp()
				n.pull()
				n.site.day()
			}
			l.heal()
			n.checkAll(l)
		})
	}
}

// TestStoreIsDownForAWhile takes the line away in the middle, for ten seconds.
func TestStoreIsDownForAWhile(t *testing.T) {
	t.Parallel()
	n, l := newFaultyNights(t)
	down := func(method, query string) {
		var done bool
		l.set(func(l *badLine, w http.ResponseWriter, r *http.Request) {
			if r.Method != method || !strings.Contains(r.URL.RequestURI(), query) || done {
				pass(l, w, r)
				return
			}
			done = true
			l.harmed.Add(1)
			go func() {
				l.tcp.Stop()
				time.Sleep(10 * time.Second)
				if err := l.tcp.Start(); err != nil {
					t.Error(err)
				}
			}()
			time.Sleep(100 * time.Millisecond)
			reset(r)
		})
	}
	down("PUT", "partNumber=2")
	n.backUp()
	down("GET", ".tar")
	n.pull()
	if l.harmed.Load() != 2 {
		t.Errorf("it was down %d times", l.harmed.Load())
	}
	l.heal()
	n.checkAll(l)
}

// TestStoreStaysDown: the run ends, says what is wrong, and leaves nothing that
// could be taken for a backup. That a service which does not answer is given up
// after minutes is testdata/script/unavailable.txtar's; here, in the middle of a
// package, only for those who have the time.
func TestStoreStaysDown(t *testing.T) {
	t.Parallel()
	type end struct {
		how  treatment
		code int
		says []string
	}
	ends := map[string]end{
		"refused": {func(_ *badLine, w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error><Code>AccessDenied</Code><Message>no more</Message></Error>")
		}, 5, []string{"may not write it: ask for s3:PutObject"}},
	}
	if soak() {
		ends["gone"] = end{func(l *badLine, w http.ResponseWriter, r *http.Request) {
			go l.tcp.Stop()
			time.Sleep(100 * time.Millisecond)
			reset(r)
		}, 1, []string{"connection refused", "attempts in 2m"}}
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, l := newFaultyNights(t)
			var down atomic.Bool
			l.set(func(l *badLine, w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.RawQuery, "partNumber=2") {
					down.Store(true)
				}
				if down.Load() {
					l.harmed.Add(1)
					end.how(l, w, r)
				} else {
					pass(l, w, r)
				}
			})
			began := time.Now()
			stdout, stderr, code := n.runFor(5*time.Minute, firn, slices.Concat([]string{"upload", "files", n.storage, "--name", "file-storage"}, n.seal)...)
			took := time.Since(began)
			_, last, _ := strings.Cut(stderr, "\nfirn: ")
			t.Logf("given up after %v: %s", took.Round(time.Second), last)
			if code != end.code || took > 4*time.Minute {
				t.Errorf("exit code %d after %v\n%s%s", code, took, stdout, stderr)
			}
			for _, text := range append(end.says, `.tar"`, l.bucket.Bucket, l.tcp.Listen) {
				if !strings.Contains(last, text) {
					t.Errorf("the message does not say %q:\n%s", text, stderr)
				}
			}
			if lists := n.objects("", "/backup-info"); len(lists) > 0 {
				t.Errorf("there is %q", lists)
			}
			if name == "gone" {
				must(t, l.tcp.Start())
			}
			l.heal()
			n.backUp()
			n.pull()
			n.checkAll(l)
		})
	}
}

// TestLaggingList: whoever lists the bucket sees what was there a while ago. A
// run may do nothing then, or fail, but it does no harm.
func TestLaggingList(t *testing.T) {
	t.Parallel()
	n, l := newFaultyNights(t)
	l.set(lagging())
	rounds := 4
	if soak() {
		rounds = 12
	}
	for range rounds {
		args := slices.Concat([]string{"upload", "files", n.storage, "--name", "file-storage", "--json"}, n.seal)
		stdout, stderr, code := n.run(nil, firn, args...)
		t.Logf("upload: exit code %d\n%s", code, stderr)
		if code == 0 {
			var report struct{ Backup string }
			must(t, json.Unmarshal([]byte(stdout), &report))
			n.all = append(n.all, night{report.Backup, "", tree(t, n.storage)})
		}
		_, stderr, code = n.run(nil, firn, "archive", n.archive)
		t.Logf("archive: exit code %d\n%s", code, stderr)
		n.site.day()
	}
	l.heal()
	if l.harmed.Load() == 0 {
		t.Error("no listing was late")
	}
	n.backUp()
	n.pull()
	n.checkAll(l)
}

// TestListWithoutAPackage: the backup's list is seen already, one of its
// packages not yet. A version that lacks its files must not be published: it
// would look as if they were lost.
func TestListWithoutAPackage(t *testing.T) {
	t.Parallel()
	n, l := newFaultyNights(t)
	n.backUp()
	packages := n.objects("", ".tar")
	if len(packages) < 2 {
		t.Fatalf("packages: %q", packages)
	}
	entries, hidden := regexp.MustCompile(`(?s)<Contents>.*?</Contents>`), []byte("<Key>"+packages[0]+"</Key>")
	l.set(listings(func(_ *badLine, _ string, answer []byte) []byte {
		return entries.ReplaceAllFunc(answer, func(entry []byte) []byte {
			if bytes.Contains(entry, hidden) {
				return nil
			}
			return entry
		})
	}))
	stdout, stderr, code := n.run(nil, firn, "archive", n.archive)
	if l.harmed.Load() == 0 {
		t.Fatal("nothing was hidden")
	}
	t.Logf("exit code %d\n%s%s", code, stdout, stderr)
	if lists := n.objects("", "/archive-info"); code == 0 && len(lists) == 1 {
		n.checkAll(l) // fetched by its key, all the same
	} else if len(lists) > 0 {
		t.Errorf("exit code %d, and %q is published", code, lists)
	}
	l.heal()
	n.firn("archive", n.archive)
	n.checkAll(l)
}

// newFaultyNights has a storage whose packages take several parts.
func newFaultyNights(t *testing.T) (*nights, *badLine) {
	t.Helper()
	w := newWorld(t)
	l := w.withBadLine()
	withNewKey(w)
	n := &nights{world: w, site: newSite(t, w.storage)}
	n.site.fill(30, 2)
	noise := make([]byte, 18<<20)
	_, _ = rand.Read(noise)
	n.site.write("large/file", noise)
	return n, l
}

// checkAll looks at every version, and for what was left behind.
func (n *nights) checkAll(l *badLine) {
	n.Helper()
	archived, err := filepath.Glob(filepath.Join(n.archive, "file-storage_*", "archive-info"))
	must(n, err)
	var newest string
	for _, v := range n.all {
		if !slices.Contains(archived, filepath.Join(n.archive, v.backup, "archive-info")) {
			n.Errorf("%s is not archived", v.backup)
			continue
		}
		newest = v.backup
		sameTree(n, v.backup, tree(n, n.restore(v.backup)), v.files, 0o777)
	}
	if len(archived) != len(n.all) {
		n.Errorf("%d versions; want %d", len(archived), len(n.all))
	}
	if uploads := l.uploads(); len(uploads) > 0 {
		n.Errorf("unfinished uploads: %q", uploads)
	}
	for _, key := range n.objects("", "") {
		if !strings.HasPrefix(key, newest+"/") {
			n.Errorf("%s is still in the bucket", key)
		}
	}
}
