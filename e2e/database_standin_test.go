package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// standIn makes a folder of PostgreSQL's programs where a script stands in for
// one of them, which it finds as $real. Its version is the true one.
func (d *databases) standIn(program, script string) (dir string) {
	d.Helper()
	script = `case "$*" in --version | -V) exec "$real" "$@" ;; esac` + "\n" + script
	return d.impostor(program, script)
}

// impostor is a stand-in that answers for its version too.
func (d *databases) impostor(program, script string) (dir string) {
	d.Helper()
	dir = d.tempDir()
	programs, err := os.ReadDir(d.server.BinDir)
	must(d, err)
	for _, p := range programs {
		if p.Name() != program {
			must(d, os.Symlink(filepath.Join(d.server.BinDir, p.Name()), filepath.Join(dir, p.Name())))
		}
	}
	script = fmt.Sprintf("#!/bin/bash\nreal=%s\n%s\n", filepath.Join(d.server.BinDir, program), script)
	must(d, os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755))
	return dir
}

// refuseParts puts a service in front of the bucket that refuses to take more
// than two parts of the objects whose keys contain the text.
func (d *databases) refuseParts(of string) {
	d.Helper()
	bucket, err := url.Parse(d.bucket.Endpoint)
	must(d, err)
	var parts atomic.Int32
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(bucket)
		r.Out.Host = r.In.Host // which is signed
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && r.URL.Query().Has("partNumber") && strings.Contains(r.URL.Path, of) && parts.Add(1) > 2 {
			_, _ = io.Copy(io.Discard, r.Body) // whoever still sends may miss the answer
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	d.Cleanup(front.Close)
	d.Cleanup(func() {
		if parts.Load() <= 2 {
			d.Errorf("only %d parts of %s were sent", parts.Load(), of)
		}
	})
	d.set("backup_s3_endpoint", front.URL)
}
