package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

// serving is a firn serve under way.
type serving struct {
	*daemon
	url string
}

const adminToken = "0123456789abcdef-token"

// serve starts firn serve and waits until it answers. Its state is kept over
// several starts.
func (w *world) serve(args ...string) *serving {
	w.Helper()
	must(w, os.WriteFile(w.path("token"), []byte(adminToken+"\n"), 0o600))
	s := &serving{daemon: w.daemon(firn, slices.Concat([]string{"serve", "--listen=127.0.0.1:0", "--token-file", w.path("token"), "--state", w.path("state")}, args)...)}
	s.url = s.awaitPrinted(`page="?(https?://[^/]+)/`)[1]
	return s
}

// ask sends a request with the token.
func (s *serving) ask(method, path string) (status int, answer string) {
	s.Helper()
	request, err := http.NewRequestWithContext(s.Context(), method, s.url+path, nil)
	must(s, err)
	request.Header.Set("Authorization", "Bearer "+adminToken)
	r, err := http.DefaultClient.Do(request)
	must(s, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	must(s, err)
	return r.StatusCode, string(body)
}

func (s *serving) start(path string) {
	s.Helper()
	if status, answer := s.ask("POST", path); status != http.StatusAccepted {
		s.Fatalf("POST %s: %d %s", path, status, answer)
	}
}

func (s *serving) state() (state service.State) {
	s.Helper()
	_, answer := s.ask("GET", "/admin/state")
	must(s, json.Unmarshal([]byte(answer), &state))
	return state
}

// last waits until a job has ended so many runs since its service began.
func (s *serving) last(job string, ends int64) *runs.Run {
	s.Helper()
	var of service.JobState
	s.await("end of "+job, func() bool {
		for _, of = range s.state().Jobs {
			if of.Name == job {
				sum := int64(0)
				for _, n := range of.Ends {
					sum += n
				}
				return sum >= ends && of.Running == nil
			}
		}
		return false
	})
	return of.Last
}

// monitoring asks what anybody may.
func (s *serving) monitoring() (status int, answer string) {
	s.Helper()
	r, err := http.Get(s.url + "/admin/monitoring/backup")
	must(s, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	must(s, err)
	return r.StatusCode, string(body)
}

// A night that nobody was there for is made up for; a run in the middle of which
// the service was told to end is gone on with by the next one.
func TestServeResumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line := w.withBadLine()
	withNewKey(w)
	site := newSite(t, w.storage)
	site.fill(10, 1)
	old := w.upload()
	w.pull()
	before := putBack(w, old, 3*24*time.Hour)
	line.toxicOf("upstream", "bandwidth", 1, map[string]int{"rate": 2000}) // KB a second
	addSmall(site, 20)                                                     // one package
	for range 12 {                                                         // another one
		site.add(site.content(3 << 20))
	}
	args := slices.Concat([]string{w.storage, "--name=file-storage", "--workers=1"}, w.seal)
	s := w.serve(args...)
	s.await("a package", func() bool { return strings.Contains(s.printed(), "package uploaded") })
	run := s.state().Jobs[0].Running
	if run == nil || run.Trigger != runs.Missed || run.Progress.Percent() <= 0 {
		t.Errorf("under way: %+v", run)
	}
	s.stop()
	line.heal()
	s = w.serve(args...)
	last := s.last("file-storage", 1)
	if last.Result != runs.Succeeded || last.Trigger != runs.Missed || last.Files["resumed"] == 0 {
		t.Errorf("%+v", last)
	}
	_, answer := s.ask("GET", "/admin/runs?job=file-storage")
	if strings.Count(answer, `"interrupted"`) != 1 || strings.Count(answer, `"succeeded"`) != 1 {
		t.Error(answer)
	}
	w.pull()
	if status, answer := s.monitoring(); status != http.StatusNotFound || !strings.Contains(answer, "archived") {
		t.Errorf("the bucket was last looked at before the archiver came: %d %s", status, answer)
	}
	s.stop()
	s = w.serve(args...) // it looks at its start
	s.await("look into the bucket", func() bool { return s.state().Jobs[0].Seen != nil })
	if status, answer := s.monitoring(); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	s.stop()
	sameTree(t, "restored", tree(t, w.restore("file-storage/latest")), tree(t, w.storage), 0o777)
	if _, err := os.Stat(w.archive + "/" + before); err != nil {
		t.Error(err)
	}
}

// putBack makes a backup that is archived that much older, in the bucket and in
// the archive, and returns its name. The archive's files are the list's.
func putBack(w *world, name string, by time.Duration) string {
	w.Helper()
	old, err := backupname.Parse(name)
	must(w, err)
	to, err := backupname.New(old.Storage(), old.Time().Add(-by))
	must(w, err)
	must(w, os.Rename(w.archive+"/"+name, w.archive+"/"+to.String()))
	list := w.archive + "/" + to.String() + "/archive-info"
	data, err := os.ReadFile(list)
	must(w, err)
	data = bytes.ReplaceAll(data, []byte(name), []byte(to.String()))
	must(w, os.WriteFile(list, data, 0o640))
	for _, file := range []string{"/backup-info", "/archive-info"} {
		must(w, w.store.Put(w.Context(), to.String()+file, data))
	}
	must(w, w.store.Delete(w.Context(), w.objects(name+"/", "")...))
	return to.String()
}

func addSmall(s *site, n int) {
	for i := range n {
		s.add(s.content(1000 + i))
	}
}

// What fails is told, in numbers too, and comes right when the reason is gone.
func TestServeFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	folder := w.path("bucket")
	must(t, os.Mkdir(folder, 0o750))
	store, err := objstore.OpenDir(folder)
	must(t, err)
	w.store = store
	addSmall(newSite(t, w.storage), 5)
	var heard sync.Map
	listener := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard.Store(r.URL.Path, true) }))
	t.Cleanup(listener.Close)
	watcher := listener.URL
	w.env = append(w.env, "backup_ping_success="+watcher+"/good-secret", "backup_ping_failure="+watcher+"/bad-secret")
	s := w.serve(w.storage, "--name=file-storage", "--store=file://"+folder, "--final=s3")
	must(t, os.Rename(folder, folder+"-gone"))
	s.start("/admin/backup")
	if last := s.last("file-storage", 1); last.Result != runs.Failed || !strings.Contains(last.Error, "bucket") {
		t.Errorf("%+v", last)
	}
	s.await("ping", func() bool { _, ok := heard.Load("/bad-secret"); return ok })
	_, numbers := s.ask("GET", "/metrics")
	for _, want := range []string{`firn_last_run_result{job="file-storage",result="failed"} 1`, `firn_runs_total{job="file-storage",result="failed"} 1`} {
		if !strings.Contains(numbers, want+"\n") {
			t.Errorf("no %s in\n%s", want, numbers)
		}
	}
	must(t, os.Rename(folder+"-gone", folder))
	s.start("/admin/backup/file-storage")
	if last := s.last("file-storage", 2); last.Result != runs.Succeeded || last.Files["new"] != 5 {
		t.Errorf("%+v", last)
	}
	s.await("ping", func() bool { _, ok := heard.Load("/good-secret"); return ok })
	// The bucket is the final storage here: no archiver is waited for.
	if status, answer := s.monitoring(); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	_, log := s.ask("GET", "/admin/runs/"+s.state().Jobs[0].Last.ID+"/log")
	if !strings.Contains(log, "package uploaded") || strings.Contains(log, "secret") {
		t.Error(log)
	}
	s.stop()
	if all := s.printed(); strings.Contains(all, "secret") || strings.Contains(all, adminToken) || strings.Count(all, "msg=run ") != 2 {
		t.Error(all)
	}
}

// Who changes the configuration need not tell the service: it counts from the
// next run on.
func TestServeReadsConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	addSmall(newSite(t, w.storage), 1)
	configure := func(folder string) {
		must(t, os.MkdirAll(w.path(folder), 0o750))
		must(t, os.WriteFile(w.path("firn.yaml"), []byte("backup-store: file://"+w.path(folder)+"\nfile-storage-id: s\nbackup-time: 23:05\n"), 0o600))
	}
	configure("first")
	s := w.serve(w.storage, "--config", w.path("firn.yaml"))
	if next := s.state().Next.Local().Format("15:04"); next != "23:05" {
		t.Errorf("it backs up at %s", next)
	}
	s.made("/admin/backup", "s", runs.Succeeded, 1)
	configure("second")
	s.made("/admin/backup", "s", runs.Succeeded, 2)
	for _, folder := range []string{"first", "second"} {
		if lists := w.shell(`ls "$1" | wc -l`, w.path(folder)); strings.TrimSpace(lists) != "1" {
			t.Errorf("%s holds %s backups", folder, lists)
		}
	}
}

// An archive server archives, verifies a sample, and does not forget damage
// that chance does not choose again.
func TestServeArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withBucket()
	withNewKey(w)
	addSmall(newSite(t, w.storage), 31)
	w.upload()
	s := w.serve("--archive", w.archive, "--verify-sample=0.001%", w.catalog())
	if next := s.state().Next.Local().Format("15:04"); next != "05:10" {
		t.Errorf("it archives at %s, where backup-time is for backups", next)
	}
	s.start("/admin/archive")
	if last := s.last("archive", 1); last.Result != runs.Succeeded || last.Files["new"] != 31 {
		t.Errorf("%+v", last)
	}
	s.start("/admin/verify")
	if last := s.last("verify", 1); last.Result != runs.Succeeded || last.Files["checked"] != 31 {
		t.Errorf("%+v", last)
	}
	s.await("versions", func() bool { h := s.state().Holdings; return h != nil && len(h.Versions) == 1 })
	if v := s.state().Holdings.Versions[0]; v.Files != 31 || v.Storage != "file-storage" || s.state().Holdings.DiskFree <= 0 {
		t.Errorf("%+v", v)
	}
	if status, answer := s.monitoring(); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	w.shell(`f=$(find "$1" -name '*.gpg' | head -1); printf xyz | dd of="$f" bs=1 seek=60 conv=notrunc 2>&1`, w.archive)
	w.run(nil, firn, "verify", w.archive, w.catalog(), "--state", w.path("state")) // finds it, and leaves word
	s.start("/admin/verify")
	if last := s.last("verify", 2); last.Result != runs.Incomplete || last.Files["changed"] != 1 || len(last.Problems) != 1 {
		t.Errorf("%+v", last)
	}
	if status, answer := s.monitoring(); status != http.StatusNotFound || !strings.Contains(answer, "damage") {
		t.Errorf("%d %s", status, answer)
	}
	s.stop()
}

// TLS, with a certificate that is renewed while the service runs.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, os.Mkdir(w.path("bucket"), 0o750))
	addSmall(newSite(t, w.storage), 1)
	certificate := func(name string) {
		w.shell(`openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.new -out cert.new 2>&1
			mv key.new key.pem; mv cert.new cert.pem`, name)
	}
	certificate("first")
	s := w.serve(w.storage, "--name=s", "--store=file://"+w.path("bucket"), "--tls-cert=cert.pem", "--tls-key=key.pem")
	if !strings.HasPrefix(s.url, "https://") {
		t.Fatal(s.url)
	}
	w.must("curl", "--silent", "--fail", "--cacert", "cert.pem", s.url+"/admin/alive")
	certificate("second")
	s.await("new certificate", func() bool { // it looks now and then
		_, _, code := w.run(nil, "curl", "--silent", "--fail", "--cacert", "cert.pem", s.url+"/admin/alive")
		return code == 0
	})
	s.stop()
}
