package e2e

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// tab is a page in a browser of its own. It complains of what no page of firn
// may do: ask another host, break its own policy, or throw errors.
type tab struct {
	testing.TB
	ctx      context.Context
	forgiven *regexp.Regexp // complaints that the test is about

	mu         sync.Mutex
	complaints []string
}

// browse opens a page. Names that end in .test are this host.
func (w *world) browse(address string) *tab {
	w.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		w.Fatalf("%v: run make tools", err)
	}
	// Not the test's folder: the browser's last processes write there after its end.
	profile, err := os.MkdirTemp("", "firn-browser")
	must(w, err)
	w.Cleanup(func() { _ = os.RemoveAll(profile) })
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("no-proxy-server", true), chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.WindowSize(1100, 900))
	allocated, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	w.Cleanup(cancel)
	t := &tab{TB: w, forgiven: regexp.MustCompile(`status of 401`)}
	origin, err := url.Parse(address)
	must(w, err)
	var end context.CancelFunc
	t.ctx, end = chromedp.NewContext(allocated, chromedp.WithListener(func(event any) { t.listen(origin.Scheme+"://"+origin.Host+"/", event) }))
	w.Cleanup(end)
	must(w, chromedp.Do(t.ctx)) // without a limit: the browser ends with it
	call(t, log.Enable, cdp.Empty{})
	call(t, network.Enable, network.EnableParams{})
	t.do(chromedp.Navigate(address))
	w.Cleanup(func() {
		if w.Failed() {
			last := filepath.Join(os.TempDir(), "firn-"+w.Name()+".png")
			t.picture(last)
			w.Logf("what was seen last: %s", last)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, c := range t.complaints {
			w.Errorf("the browser complains: %s", c)
		}
	})
	return t
}

func (t *tab) listen(origin string, event any) {
	var complaint string
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, origin) && !strings.HasPrefix(u, "data:") {
			complaint = "request for " + u
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			complaint = e.Entry.Text
		}
	case *runtime.EventConsoleAPICalled:
		complaint = fmt.Sprintf("console.%s", e.Type)
	case *runtime.EventExceptionThrown:
		complaint = e.ExceptionDetails.Text
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if complaint != "" && !t.forgiven.MatchString(complaint) {
		t.complaints = append(t.complaints, complaint)
	}
}

func (t *tab) forgive(pattern string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgiven = regexp.MustCompile(t.forgiven.String() + "|" + pattern)
}

func (t *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience/2)
	defer cancel()
	must(t, chromedp.Do(ctx, actions...))
}

// call runs a command of the browser's.
func call[P, R any](t *tab, command cdp.Command[P, R], params P) R {
	t.Helper()
	result, err := chromedp.Call(t.ctx, command, params)
	must(t, err)
	return result
}

// tell returns what an expression says on the page.
func (t *tab) tell(expression string) string {
	t.Helper()
	value, err := chromedp.Run(t.ctx, chromedp.Evaluate[string]("String("+expression+")"))
	must(t, err)
	return value
}

func textOf(selector string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(%q)].filter(e => e.checkVisibility()).map(e => e.innerText.replace(/\s+/g, ' ')).join(' | ')`, selector)
}

// see waits until what is selected has these words.
func (t *tab) see(selector, words string) {
	t.Helper()
	var got string
	for end := time.Now().Add(patience / 2); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		// A page that goes away in this moment has none.
		text, err := chromedp.Run(t.ctx, chromedp.Evaluate[string](textOf(selector)))
		if got = text; err == nil && strings.Contains(got, words) {
			return
		}
	}
	t.Fatalf("no %q in %s: %s", words, selector, got)
}

func (t *tab) click(selector string) {
	t.Helper()
	t.do(chromedp.Click(chromedp.CSS(selector)))
}

// tabTo goes to an element with the keyboard, and demands on the way that it is
// seen where one is.
func (t *tab) tabTo(selector string) {
	t.Helper()
	for range 100 {
		t.do(chromedp.KeyEvent(kb.Tab))
		switch t.tell(fmt.Sprintf(`(e => getComputedStyle(e).outlineStyle === 'none' ? 'unseen ' + e.outerHTML.slice(0, 200) : e.matches(%q))(document.activeElement)`, selector)) {
		case "true":
			return
		case "false":
		default:
			if where := t.tell(`document.activeElement.tagName`); where != "BODY" {
				t.Fatalf("nobody sees that the focus is on %s", t.tell(`document.activeElement.outerHTML.slice(0, 200)`))
			}
		}
	}
	t.Fatalf("the keyboard does not reach %s", selector)
}

func (t *tab) press(key string) {
	t.Helper()
	t.do(chromedp.KeyEvent(key))
}

// login is by keyboard: the field has the focus.
func (t *tab) login(token string) {
	t.Helper()
	t.see("h1", "Log in")
	t.do(chromedp.SendKeys(chromedp.CSS("#token"), token+kb.Enter))
}

func (t *tab) window(width int64, scheme string) {
	t.Helper()
	call(t, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1})
	call(t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// looks are how the page is looked at: wide in the day, wide at night, on a phone.
var looks = []struct {
	name, scheme string
	width        int64
}{{"light", "light", 1100}, {"dark", "dark", 1100}, {"narrow", "light", 390}}

// look demands of the page what makes it one for everybody, in each of its looks;
// with FIRN_SCREENSHOTS=1 it is also taken for the manual.
func (t *tab) look(name string, all bool) {
	t.Helper()
	for _, l := range looks {
		if all || l.name == "light" {
			t.window(l.width, l.scheme)
			t.fair(name + ", " + l.name)
			if os.Getenv("FIRN_SCREENSHOTS") == "1" && name != "" {
				t.picture(filepath.Join(project, "docs", "screenshots", name+"-"+l.name+".png"))
			}
		}
	}
	t.window(360, "light")
	if width := t.tell(`document.scrollingElement.scrollWidth`); width != "360" {
		t.Errorf("%s: %s wide, in a window of 360: %s", name, width, t.tell(`[...document.body.querySelectorAll('*')]
			.filter(e => e.getBoundingClientRect().right > 361 && !e.closest('.scroll, .unseen')).map(e => e.outerHTML.slice(0, 120)).slice(0, 3).join(' | ')`))
	}
	t.window(1100, "light")
}

// fairness says what is wrong with the page for those who see little, have large
// fingers, or have it read to them.
const fairness = `(() => {
	const bad = [], seen = new Set();
	const seenBy = (e) => e.checkVisibility({ visibilityProperty: true }) && !e.closest('.unseen, .skip');
	const rgb = (c) => c.match(/[\d.]+/g).map(Number);
	const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
	for (const e of document.body.querySelectorAll('*')) {
		if (e.id && seen.has(e.id)) bad.push('two are called ' + e.id);
		seen.add(e.id);
		if (!seenBy(e)) continue;
		if ([...e.childNodes].some((n) => n.nodeType === 3 && n.nodeValue.trim()) && !e.closest('svg')) {
			const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))], contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
			if (contrast < 4.5) bad.push('contrast ' + contrast.toFixed(2) + ': ' + e.outerHTML.slice(0, 100));
		}
		if (e.matches('button, summary, input:not([type=hidden])') && e.getBoundingClientRect().height < 44) bad.push('small: ' + e.outerHTML.slice(0, 100));
		if (e.matches('button, a, summary') && !(e.textContent.trim() || e.querySelector('img[alt]:not([alt=""])'))) bad.push('no name: ' + e.outerHTML.slice(0, 100));
		if (e.matches('input:not([type=hidden])') && !e.labels.length) bad.push('no label: ' + e.outerHTML);
	}
	for (const [what, n] of [['h1', 1], ['main', 1], ['body > header', 1], ['body > footer', 1]])
		if (document.querySelectorAll(what).length !== n) bad.push('not ' + n + ' of ' + what);
	if (!document.documentElement.lang || !document.title) bad.push('no language or no title');
	return bad.slice(0, 5).join('; ');
})()`

// fair demands contrast, size, names and landmarks.
func (t *tab) fair(where string) {
	t.Helper()
	if bad := t.tell(fairness); bad != "" {
		t.Errorf("%s: %s", where, bad)
	}
}

// picture takes what is seen of the page without scrolling far.
func (t *tab) picture(file string) {
	t.Helper()
	time.Sleep(700 * time.Millisecond) // the bar has its length then
	size, err := chromedp.Run(t.ctx, chromedp.Evaluate[[]float64](`[innerWidth, Math.min(document.body.scrollHeight, innerWidth < 600 || document.querySelector(".findings") ? 1600 : 1350)]`))
	var taken page.CaptureScreenshotResult
	if err == nil {
		beyond := true
		taken, err = chromedp.Call(t.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
			CaptureBeyondViewport: &beyond, Clip: &page.Viewport{Width: size[0], Height: size[1], Scale: 1},
		})
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, taken.Data, 0o644)
	}
	if err != nil || len(taken.Data) > 200_000 {
		t.Errorf("picture %s of %d bytes: %v", file, len(taken.Data), err)
	}
}
