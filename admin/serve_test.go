package admin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

// A service that has to end answers those who wait for it, but no new ones.
func TestServeEndsCleanly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	asked, answer := make(chan bool), make(chan bool)
	slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		_, _ = io.WriteString(w, "late")
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, slow, nil, quiet) }()
	got := make(chan string, 1)
	go func() {
		r, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			got <- err.Error()
			return
		}
		defer r.Body.Close()
		text, _ := io.ReadAll(r.Body)
		got <- string(text)
	}()
	<-asked
	cancel()
	time.Sleep(50 * time.Millisecond)
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("new ones are let in")
	}
	close(answer)
	if text := <-got; text != "late" {
		t.Error(text)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestServeTellsWhyItCannot(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	if err := Serve(t.Context(), l, http.NotFoundHandler(), nil, quiet); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Error(err)
	}
}

// writePair makes a certificate with a serial number.
func writePair(t *testing.T, dir string, serial int64, changed time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "firn.test"}, DNSNames: []string{"firn.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	for name, block := range map[string]*pem.Block{"key.pem": {Type: "PRIVATE KEY", Bytes: secret}, "cert.pem": {Type: "CERTIFICATE", Bytes: cert}} {
		file := filepath.Join(dir, name)
		must(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
		must(t, os.Chtimes(file, changed, changed))
	}
}

// A renewed certificate is used without a restart, and one that is half written
// does not take the old one away.
func TestCertificatesAreReadAgain(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	writePair(t, dir, 1, now.Add(-time.Hour))
	config, err := TLS(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), quiet)
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, http.NotFoundHandler(), config, quiet) }()
	serial := func() int64 {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		must(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Error(got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	c := &certificate{certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem"), log: quiet}
	must(t, c.load())
	read := func() int64 {
		c.looked = time.Time{} // it is long ago
		pair, err := c.get(nil)
		must(t, err)
		return pair.Leaf.SerialNumber.Int64()
	}
	must(t, os.WriteFile(c.certFile, []byte("-----BEGIN"), 0o600))
	if got := read(); got != 1 {
		t.Errorf("with half a certificate: %d", got)
	}
	writePair(t, dir, 2, now)
	if got := read(); got != 2 {
		t.Errorf("after it was renewed: %d", got)
	}
	if _, err := TLS(c.keyFile, c.certFile, quiet); err == nil {
		t.Error("a key is taken for a certificate")
	}
}
