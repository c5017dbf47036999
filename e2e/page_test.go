package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/chipster/firn/internal/runs"
)

// pastNights writes records of a job's runs of the last month, each of which
// found some more files, of 80 kB, until there were so many. One night failed, one
// was none. The time of day that it returns was three hours ago.
func pastNights(w *world, job string, files int) (backupTime string) {
	w.Helper()
	folder := filepath.Join(w.path("state"), "runs")
	must(w, os.MkdirAll(folder, 0o750))
	last := time.Now().Add(-3 * time.Hour).Truncate(time.Minute)
	for i := range 29 {
		began := last.AddDate(0, 0, -i).Add(2 * time.Second)
		all, fresh := int64(files-files*i/30), int64(files*(14+i*i*7%13)/600)
		r := runs.Run{
			ID: fmt.Sprintf("%s-%s-%08x", began.UTC().Format("20060102T150405.000000Z"), job, i), Job: job,
			Trigger: runs.Scheduled, Attempt: 1, Started: began, Ended: began.Add(time.Duration(50+i*i%19) * time.Second), Result: runs.Succeeded,
			Files: map[string]int64{"total": all, "new": fresh}, Bytes: map[string]int64{"total": all * 80_000, "new": fresh * 80_000},
		}
		switch {
		case i == 17:
			continue
		case i == 9:
			r.Result, r.Files, r.Bytes = runs.Failed, nil, nil
			r.Error = "bucket backup: " + strings.Repeat("a-name-without-an-end-", 30)
		case job == "archive":
			r.Bytes = map[string]int64{"fetched": fresh * 1000}
		case job == "verify":
			r.Files, r.Bytes = map[string]int64{"checked": all}, map[string]int64{"read": all * 800}
		}
		text, err := json.Marshal(r)
		must(w, err)
		must(w, os.WriteFile(filepath.Join(folder, r.ID+".json"), text, 0o640))
	}
	return last.Format("15:04")
}

// packagesHeld keeps packages from the bucket until the test lets them go.
func packagesHeld(l *badLine) (release func()) {
	released := make(chan struct{})
	l.set(func(l *badLine, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, ".tar") {
			select {
			case <-released:
			case <-r.Context().Done():
			}
		}
		pass(l, w, r)
	})
	return sync.OnceFunc(func() { close(released) })
}

// gone is what a server answers that has no such bucket.
func gone(_ *badLine, w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>")
}

// TestPage is an administrator's morning: in by keyboard, start a backup, watch
// it, read what it did; one that fails, one that is cancelled; the schedule; and
// the service goes away.
func TestPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line := w.withBadLine()
	withNewKey(w)
	site := newSite(t, w.storage)
	for range 600 {
		site.add(site.content(80_000))
	}
	w.upload()
	w.pull()
	for range 40 {
		site.add(site.content(30_000))
	}
	for range 2 { // in a package of their own, which comes after the first
		site.add(site.content(1_200_000))
	}
	s := w.serve(slices.Concat([]string{"storage", "--name=file-storage", "--workers=1", "--backup-time", pastNights(w, "file-storage", 600)}, w.seal)...)
	s.await("look into the bucket", func() bool { return s.state().Jobs[0].Seen != nil })

	p := w.browse(s.url + "/")
	p.login("a wrong token")
	p.see("#problem", "wrong token")
	p.look("", true)
	p.login(adminToken)
	p.see("h1", "All is well")
	p.see("#job-0 .facts", "Archived just now")
	if title := p.tell(`document.title`); title != "✓ firn: file-storage" {
		t.Error(title)
	}
	p.look("idle", true)

	release := packagesHeld(line)
	defer release()
	p.tell(`window.same = true`)
	p.tabTo("#start-0")
	p.press(kb.Enter)
	p.see("#notice", "starts as soon as nothing else runs")
	p.see("#job-0 .running", "of 42 files")
	p.see("#job-0 .running strong", " %")
	if title := p.tell(`document.title`); !strings.Contains(title, " % firn: ") {
		t.Error(title)
	}
	if focus := p.tell(`document.activeElement.id`); focus != "job-0-heading" {
		t.Errorf("the focus is on %q, after its button has gone", focus)
	}
	p.look("running", true)
	p.click("#days-0 summary")
	p.see("#days-0", "✗ failed")
	release()
	p.see("#job-0 header", "✓ succeeded")
	p.see("#job-0 .facts", "New in it 42 files")
	p.see("#news", "files of file-storage: succeeded.")
	p.see("#days-0", "✗ failed") // still open
	if p.tell(`window.same`) != "true" {
		t.Error("the page was loaded again")
	}
	p.click("#runs tbody tr:first-child a")
	p.see("h1", "Files of file-storage")
	p.see("#run .facts", "asked for")
	p.see("#lines", "package uploaded")
	p.look("", true)
	p.click("main > p > a")

	line.set(gone)
	p.see("#job-0", "Back up now")
	p.click("#start-0")
	p.see("#job-0 header", "✗ failed")
	p.see("#job-0 .box.bad", "bucket")
	p.see("h1", "The last run failed")
	p.look("failed", true)
	p.click("#job-0 .box a")
	p.see("#run .error", "bucket")
	p.press(kb.Home)
	p.tabTo("main > p > a")
	p.press(kb.Enter)
	line.set(nil)

	p.see("#schedule", "✓ on")
	p.tabTo("#switch")
	p.press(" ")
	p.see("#schedule", "! off")
	if s.state().ScheduleOn {
		t.Error("the schedule is on")
	}
	p.see("#switch", "Switch the schedule on")
	p.press(" ") // the focus is still there
	p.see("#schedule", "✓ on")

	addSmall(site, 3)
	release = packagesHeld(line)
	defer release()
	p.click("#start-0")
	p.see("#job-0 .running", "of")
	p.click("#job-0 .running + p a")
	p.see("#run .running", "of 45 files")
	p.tell(`window.same = true`)
	p.click("#cancel")
	p.see("#notice", "It is being cancelled.")
	p.see("#run header", "– cancelled")
	if p.tell(`window.same`) != "true" {
		t.Error("the page was loaded again")
	}
	release()
	line.set(nil)

	p.forgive("ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE")
	s.stop()
	p.tell(`document.dispatchEvent(new Event('visibilitychange'))`)
	p.see("#connection", "Connection lost")
}

// TestPageWithoutScript uses forms and links alone, over a line without TLS and
// under a name, where browsers tell servers less of where a request comes from.
func TestPageWithoutScript(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	folder := w.path("bucket")
	must(t, os.Mkdir(folder, 0o750))
	addSmall(newSite(t, w.storage), 3)
	s := w.serve(w.storage, "--name=file-storage", "--store=file://"+folder, "--final=s3")
	p := w.browse(strings.Replace(s.url, "127.0.0.1", "firn.test", 1) + "/")
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	p.login("a wrong token")
	p.see("#problem", "wrong token")
	p.login(adminToken)
	p.see("h1", "Nothing has run yet")
	p.click("#start-0")
	p.see("#notice", "It starts as soon as nothing else runs.")
	s.last("file-storage", 1)
	p.do(chromedp.Reload())
	p.see("#job-0 header", "✓ succeeded")
	p.click("#switch")
	p.see("#schedule", "! off")
	p.click("#switch")
	p.see("#schedule", "✓ on")
	p.click("#runs tbody a")
	p.see("#lines", "package uploaded")
	p.click("#logout")
	p.see("h1", "Log in")
	s.stop()
}

// TestPageOfAnArchive shows the versions, and damage that was found.
func TestPageOfAnArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withBucket()
	withNewKey(w)
	site := newSite(t, w.storage)
	addSmall(site, 31)
	for range 3 {
		w.upload()
		w.pull()
		addSmall(site, 7)
	}
	w.upload()
	must(t, os.Symlink(w.archive, w.path("chipster")))
	pastNights(w, "verify", 45)
	s := w.serve("--archive", "chipster", "--verify-sample=0", "--backup-time", pastNights(w, "archive", 45), w.catalog())
	p := w.browse(s.url + "/")
	p.login(adminToken)
	p.see("#job-1 .facts", "when you start it")
	p.click("#start-0")
	p.see("#job-0 .facts", "Archived 52 files")
	p.see("#holdings", "4 versions")
	w.shell(`f=$(find "$1" -name '*.gpg' | head -1); printf xyz | dd of="$f" bs=1 seek=60 conv=notrunc 2>&1`, w.archive)
	p.click("#start-1")
	p.see("#job-1 header", "! done, with problems")
	p.see("h1", "One thing needs attention")
	p.see("#holdings .findings", "1 changed")
	p.see("#holdings .troubles", ".gpg")
	p.look("archive", false)
	p.click("#holdings .findings a")
	p.see("#run .troubles", ".gpg")
	p.tell(`fetch('/logout', { method: 'POST' }).then(() => document.dispatchEvent(new Event('visibilitychange')))`)
	p.see("h1", "Log in") // what is on the page is no longer for everybody's eyes
	s.stop()
}
