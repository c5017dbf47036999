package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

// badLine is the network between the program and the bucket: toxiproxy, which
// treats connections, and behind it a proxy that treats requests.
type badLine struct {
	testing.TB
	tcp      *toxiproxy.Proxy
	bucket   objstore.S3Options // without the line
	front    string             // the proxy of requests alone
	bucketIs http.Handler

	mu                    sync.Mutex
	treat                 treatment
	opened, asked, harmed atomic.Int64 // connections, requests, faults
}

// treatment deals with a request in place of the bucket. It may panic with http.ErrAbortHandler.
type treatment func(l *badLine, w http.ResponseWriter, r *http.Request)

// withBadLine gives the world an empty bucket at the other end of a line that
// is still good. The test itself looks into the bucket without the line.
func (w *world) withBadLine() *badLine {
	w.Helper()
	l := &badLine{TB: w, bucket: objstoretest.VersityGW(w)}
	var err error
	w.store, err = objstore.OpenS3(w.Context(), l.bucket)
	must(w, err)
	w.env = append(w.env, bucketSettings(l.bucket)...)
	target, err := url.Parse(l.bucket.Endpoint)
	must(w, err)
	l.bucketIs = &httputil.ReverseProxy{
		// The signature holds the host that the program knows.
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		FlushInterval: -1, Transport: l.transport(), ErrorLog: log.New(io.Discard, "", 0),
	}
	server := httptest.NewUnstartedServer(l)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		l.opened.Add(1)
		return context.WithValue(ctx, connKey{}, c)
	}
	server.Start()
	l.front = server.URL
	metrics := toxiproxy.NewMetricsContainer(prometheus.NewRegistry())
	l.tcp = toxiproxy.NewProxy(toxiproxy.NewServer(metrics, zerolog.Nop()), "line", "127.0.0.1:0", server.Listener.Addr().String())
	must(w, l.tcp.Start())
	w.TB.Cleanup(func() {
		l.tcp.Stop()
		server.CloseClientConnections()
		server.Close()
	})
	w.useEndpoint("http://" + l.tcp.Listen)
	return l
}

// useEndpoint has the program reach the bucket there.
func (w *world) useEndpoint(url string) {
	w.env = append(w.env, "backup_s3_endpoint="+url, "backup_s3_ca_file=")
}

// runFor is run with another patience.
func (w *world) runFor(limit time.Duration, program string, args ...string) (stdout, stderr string, code int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Dir, cmd.Env = w.dir, w.env
	var out, errout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errout
	if err := cmd.Run(); ctx.Err() != nil || cmd.ProcessState == nil {
		w.Fatalf("%s %q: %v\n%s", program, args, err, errout.String())
	}
	return out.String(), errout.String(), cmd.ProcessState.ExitCode()
}

type connKey struct{}

func (l *badLine) transport() *http.Transport {
	l.Helper()
	t := http.DefaultTransport.(*http.Transport).Clone()
	if l.bucket.CAFile != "" {
		pem, err := os.ReadFile(l.bucket.CAFile)
		must(l, err)
		t.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem)
	}
	l.Cleanup(t.CloseIdleConnections)
	return t
}

func (l *badLine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.asked.Add(1)
	l.mu.Lock()
	treat := l.treat
	l.mu.Unlock()
	if treat == nil {
		treat = pass
	}
	treat(l, w, r)
}

func (l *badLine) set(t treatment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.treat = t
}

// toxic adds one of toxiproxy's to both directions, for a share of connections.
func (l *badLine) toxic(kind string, share float32, attributes map[string]int) {
	l.Helper()
	for _, stream := range []string{"upstream", "downstream"} {
		l.toxicOf(stream, kind, share, attributes)
	}
}

func (l *badLine) toxicOf(stream, kind string, share float32, attributes map[string]int) {
	l.Helper()
	text, err := json.Marshal(map[string]any{"type": kind, "stream": stream, "toxicity": share, "attributes": attributes})
	must(l, err)
	_, err = l.tcp.Toxics.AddToxicJson(bytes.NewReader(text))
	must(l, err)
}

// heal makes a good line of it, and tells what it was.
func (l *badLine) heal() {
	l.Helper()
	l.set(nil)
	l.tcp.Toxics.ResetToxics(context.Background())
	l.Logf("%d connections, %d requests, %d faults", l.opened.Load(), l.asked.Load(), l.harmed.Load())
}

func pass(l *badLine, w http.ResponseWriter, r *http.Request) { l.bucketIs.ServeHTTP(w, r) }

// sometimes does harm to a share of the requests.
func sometimes(share float64, harm treatment) treatment {
	return func(l *badLine, w http.ResponseWriter, r *http.Request) {
		if rand.Float64() >= share {
			pass(l, w, r)
			return
		}
		l.harmed.Add(1)
		harm(l, w, r)
	}
}

// refuse is what an overloaded service, and the proxies before it, answer.
func refuse(_ *badLine, w http.ResponseWriter, r *http.Request) {
	if rand.IntN(2) == 0 { // else the rest of the request is cut off
		_, _ = io.Copy(io.Discard, r.Body)
	}
	answers := []struct {
		status int
		code   string
	}{{503, "SlowDown"}, {503, "ServiceUnavailable"}, {500, "InternalError"}, {429, "TooManyRequests"}, {502, ""}, {504, ""}}
	a := answers[rand.IntN(len(answers))]
	w.WriteHeader(a.status)
	if a.code != "" {
		_, _ = io.WriteString(w, "<Error><Code>"+a.code+"</Code><Message>come back later</Message></Error>")
	}
}

// reset breaks the connection for good.
func reset(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	panic(http.ErrAbortHandler)
}

// resetRequest breaks the connection in the middle of what is sent.
func resetRequest(_ *badLine, _ http.ResponseWriter, r *http.Request) {
	_, _ = io.CopyN(io.Discard, r.Body, rand.Int64N(max(r.ContentLength, 1)))
	reset(r)
}

// resetAnswer breaks the connection in the middle of what is received.
func resetAnswer(l *badLine, w http.ResponseWriter, r *http.Request) {
	l.bucketIs.ServeHTTP(&cutWriter{ResponseWriter: w, r: r, left: rand.IntN(4 << 20)}, r)
	reset(r)
}

// loseAnswer has the bucket do it, but nobody hears of it.
func loseAnswer(l *badLine, _ http.ResponseWriter, r *http.Request) {
	l.bucketIs.ServeHTTP(httptest.NewRecorder(), r)
	reset(r)
}

func resetAnywhere(l *badLine, w http.ResponseWriter, r *http.Request) {
	[]treatment{resetRequest, resetAnswer, loseAnswer}[rand.IntN(3)](l, w, r)
}

type cutWriter struct {
	http.ResponseWriter
	r    *http.Request
	left int
}

func (w *cutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *cutWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p[:min(len(p), w.left)])
	w.left -= n
	if err == nil && n < len(p) {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		reset(w.r)
	}
	return n, err
}

func isList(r *http.Request) bool { return r.URL.Query().Has("list-type") }

// listings treats what a listing says.
func listings(change func(l *badLine, question string, answer []byte) []byte) treatment {
	return func(l *badLine, w http.ResponseWriter, r *http.Request) {
		if !isList(r) {
			pass(l, w, r)
			return
		}
		answer := httptest.NewRecorder()
		l.bucketIs.ServeHTTP(answer, r)
		old := answer.Body.Bytes()
		text := change(l, r.URL.String(), bytes.Clone(old))
		if !bytes.Equal(text, old) {
			l.harmed.Add(1)
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(answer.Code)
		_, _ = w.Write(text)
	}
}

// lagging answers a question with what was true when it was asked before.
func lagging() treatment {
	var mu sync.Mutex
	before := map[string][]byte{}
	return listings(func(_ *badLine, question string, answer []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		last, ok := before[question]
		before[question] = answer
		if ok {
			return last
		}
		return answer
	})
}

// uploads are the unfinished ones, of whoever.
func (l *badLine) uploads() []string { return objstoretest.Uploads(l, l.bucket) }
