package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const numbersToken = "a token of thirty-two characters."

// output is what a program printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// daemon starts a program that runs until the end of the test, waits until it
// has printed what ready matches, and returns that, and what it will print.
func (w *world) daemon(ready, program string, args ...string) ([]string, *output) {
	w.Helper()
	cmd := exec.Command(program, args...)
	var out output
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	must(w, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	w.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				w.Errorf("%s %q ended with %v\n%s", program, args, err, out.String())
			}
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			w.Errorf("%s %q does not end\n%s", program, args, out.String())
		}
	})
	expr := regexp.MustCompile(ready)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if m := expr.FindStringSubmatch(out.String()); m != nil {
			return m, &out
		}
		select {
		case err := <-ended:
			ended <- err
			w.Fatalf("%s %q: %v\n%s", program, args, err, out.String())
		default:
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s %q is not ready\n%s", program, args, out.String())
		}
	}
}

// serveNumbers starts firn serve and returns its address.
func (w *world) serveNumbers(state string, args ...string) string {
	w.Helper()
	must(w, os.WriteFile(w.path("token"), []byte(numbersToken), 0o600))
	args = slices.Concat([]string{"serve", "--listen", "127.0.0.1:0", "--token-file", w.path("token"), "--state", w.path(state)}, args)
	address, _ := w.daemon(`page="?http://([0-9.:]+)/`, firn, args...)
	return address[1]
}

// ask sends a request with the token and returns the answer, which is no error.
func (w *world) ask(method, url string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	must(w, err)
	r.Header.Set("Authorization", "Bearer "+numbersToken)
	answer, err := http.DefaultClient.Do(r)
	must(w, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(w, err)
	if answer.StatusCode >= 300 {
		w.Fatalf("%s %s: %s\n%s", method, url, answer.Status, body)
	}
	return string(body)
}

// start has a job run, and returns when so many runs of it ended with the result.
func (w *world) start(address, path, job, result string, runs int) {
	w.Helper()
	w.ask("POST", "http://"+address+path)
	want := fmt.Sprintf(`firn_runs_total{job="%s",result="%s"} %d`, job, result, runs)
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		numbers := w.ask("GET", "http://"+address+"/metrics")
		if strings.Contains(numbers, want+"\n") && strings.Contains(numbers, fmt.Sprintf("firn_run_active{job=%q} 0\n", job)) {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s does not come to be:\n%s", want, regexp.MustCompile(`(?m)^firn_.*`).FindAllString(numbers, -1))
		}
	}
}

// never is a time of the day at which no test runs: half a day from now.
func never() string { return time.Now().Add(12 * time.Hour).Format("15:04") }
