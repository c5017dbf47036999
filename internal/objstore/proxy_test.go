package objstore_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

// hook treats a request in place of the server; next is the server.
type hook func(w http.ResponseWriter, r *http.Request, next http.Handler)

// proxy is a faulty network in front of the real server.
type proxy struct {
	*httptest.Server
	options objstore.S3Options // of the bucket, through the proxy

	ended    chan struct{}
	mu       sync.Mutex
	hook     hook
	requests []*http.Request
}

// newProxy does nothing until set is called.
func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := newStoppedProxy(t)
	p.Start()
	p.options.Endpoint = p.URL
	return p
}

func newStoppedProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{options: objstoretest.VersityGW(t), ended: make(chan struct{})}
	target, err := url.Parse(p.options.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	next := &httputil.ReverseProxy{
		// The signature holds the host that the client knows.
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		FlushInterval: -1,
		Transport:     upstream(t, p.options.CAFile),
	}
	p.options.CAFile = ""
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests = append(p.requests, r.Clone(r.Context()))
		h := p.hook
		p.mu.Unlock()
		if h == nil {
			next.ServeHTTP(w, r)
		} else {
			h(w, r, next)
		}
	}))
	p.Config.ErrorLog = quiet
	next.ErrorLog = quiet
	t.Cleanup(func() {
		close(p.ended)
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

func upstream(t *testing.T, caFile string) *http.Transport {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			t.Fatal(err)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// set begins the faults and forgets the requests so far.
func (p *proxy) set(h hook) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hook, p.requests = h, nil
}

// seen returns the requests since set.
func (p *proxy) seen() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// open opens the bucket without faults.
func (p *proxy) open(t *testing.T) *objstore.S3 {
	t.Helper()
	s, err := objstore.OpenS3Hasty(t.Context(), p.options, 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// first applies h to the first n requests of each method and URL.
func first(n int, h hook) hook {
	var mu sync.Mutex
	count := make(map[string]int)
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		key := r.Method + r.URL.String()
		mu.Lock()
		count[key]++
		faulty := count[key] <= n
		mu.Unlock()
		if faulty {
			h(w, r, next)
		} else {
			next.ServeHTTP(w, r)
		}
	}
}

// cutAfter breaks the connection after n bytes of the answer's body.
func cutAfter(n int) hook {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutWriter{ResponseWriter: w, left: n}, r)
	}
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *cutWriter) Write(p []byte) (int, error) {
	if len(p) < w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	_, _ = w.ResponseWriter.Write(p[:w.left])
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// refuse answers with an S3 error, once it has the whole request: an answer
// before that is likely to be lost with the connection.
func refuse(status int, code, message string) hook {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("<Error><Code>" + code + "</Code><Message>" + message + "</Message></Error>"))
	}
}

// stall never answers, nor reads, until the test ends.
func (p *proxy) stall(http.ResponseWriter, *http.Request, http.Handler) {
	<-p.ended
	panic(http.ErrAbortHandler)
}
