package objstore_test

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

func TestOpenS3Denied(t *testing.T) {
	good := objstoretest.VersityGW(t)
	for name, c := range map[string]struct {
		change func(*objstore.S3Options)
		want   error
	}{
		"secret key": {func(o *objstore.S3Options) { o.SecretKey = "a-wrong-secret-key" }, objstore.ErrDenied},
		"access key": {func(o *objstore.S3Options) { o.AccessKey = "a-wrong-access-key" }, objstore.ErrDenied},
		"bucket":     {func(o *objstore.S3Options) { o.Bucket = "a-wrong-bucket" }, objstore.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			c.change(&o)
			_, err := objstore.OpenS3(t.Context(), o)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v; want %v", err, c.want)
			}
			assertNoSecrets(t, err, o)
		})
	}
}

func TestErrorsHoldNoSecrets(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	p.set(refuse(403, "SignatureDoesNotMatch", p.options.AccessKey+" signs with "+p.options.SecretKey))
	err := s.Put(t.Context(), "x", nil)
	if !errors.Is(err, objstore.ErrDenied) || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("error %v", err)
	}
	assertNoSecrets(t, err, p.options)
	if text := fmt.Sprintf("%+v %s", s, s); strings.Contains(s.String(), p.options.SecretKey) {
		t.Error(text)
	}
}

func assertNoSecrets(t *testing.T, err error, o objstore.S3Options) {
	t.Helper()
	for _, secret := range []string{o.SecretKey, o.AccessKey} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the message holds a key: %v", err)
		}
	}
}

func TestOpenS3BadOptions(t *testing.T) {
	good := objstore.S3Options{Bucket: "b", Endpoint: "http://127.0.0.1:1", AccessKey: "a", SecretKey: "s"}
	noCertificate := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noCertificate, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*objstore.S3Options){
		"bucket":          func(o *objstore.S3Options) { o.Bucket = "" },
		"secret key":      func(o *objstore.S3Options) { o.SecretKey = "" },
		"the access key":  func(o *objstore.S3Options) { o.AccessKey = "" },
		"region":          func(o *objstore.S3Options) { o.Endpoint = "" },
		"not a host":      func(o *objstore.S3Options) { o.Endpoint = "ftp://a3s.fi" },
		"endpoint is not": func(o *objstore.S3Options) { o.Endpoint = "https://user:pass@a3s.fi" },
		"TLSv1.2":         func(o *objstore.S3Options) { o.MaxTLSVersion = "TLSv1.1" },
		"none in":         func(o *objstore.S3Options) { o.CAFile = noCertificate },
		"certificates":    func(o *objstore.S3Options) { o.CAFile = noCertificate + ".none" },
	} {
		o := good
		change(&o)
		if _, err := objstore.OpenS3(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want one with %q", err, want)
		}
	}
}

// TestRequests looks at what is sent, for the sake of servers that are not
// here: newer checksums break Ceph's gateway behind some proxies, and old ones
// insist on Content-MD5.
func TestRequests(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	p.set(nil)
	put(t, s, "x", "data")
	u := create(t, s, "y")
	writePart(t, u, 1, "data")
	complete(t, u)
	if err := s.Delete(t.Context(), "x", "y"); err != nil {
		t.Fatal(err)
	}
	var withMD5 int
	for _, r := range p.seen() {
		uploads := r.Method == http.MethodPut
		if uploads || r.URL.Query().Has("delete") {
			withMD5++
			if r.Header.Get("Content-Md5") == "" {
				t.Errorf("%s %s: no Content-MD5", r.Method, r.URL)
			}
		}
		for name := range r.Header {
			if uploads && (strings.HasPrefix(name, "X-Amz-Checksum") || name == "X-Amz-Trailer" || name == "X-Amz-Sdk-Checksum-Algorithm") {
				t.Errorf("%s %s: has %s", r.Method, r.URL, name)
			}
		}
	}
	if withMD5 != 3 {
		t.Errorf("%d requests with data; want 3", withMD5)
	}
}

func TestVirtualHostStyle(t *testing.T) {
	o := objstore.S3Options{Bucket: "bucket", Endpoint: "http://nowhere.invalid", AccessKey: "a", SecretKey: "s"}
	for pathStyle, host := range map[bool]string{false: "bucket.nowhere.invalid", true: "lookup nowhere.invalid"} {
		o.PathStyle = pathStyle
		if _, err := objstore.OpenS3Hasty(t.Context(), o, time.Second); err == nil || !strings.Contains(err.Error(), host) {
			t.Errorf("path style %t: %v; want %s to be looked up", pathStyle, err, host)
		}
	}
}

func TestTLSVersions(t *testing.T) {
	for _, c := range []struct {
		serverMax uint16
		option    string
		want      uint16 // 0: refused
	}{
		{tls.VersionTLS11, "", 0},
		{tls.VersionTLS12, "", tls.VersionTLS12},
		{tls.VersionTLS13, "", tls.VersionTLS13},
		{tls.VersionTLS13, "TLSv1.3", tls.VersionTLS13},
		{tls.VersionTLS13, "TLSv1.2", tls.VersionTLS12},
	} {
		t.Run(fmt.Sprintf("%x %s", c.serverMax, c.option), func(t *testing.T) {
			p := newTLSProxy(t, c.serverMax)
			p.options.MaxTLSVersion = c.option
			s, err := objstore.OpenS3Hasty(t.Context(), p.options, time.Second)
			if c.want == 0 {
				if err == nil || !strings.Contains(err.Error(), "protocol version") {
					t.Fatalf("error %v; want a refusal of the version", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, "x", "data")
			for _, r := range p.seen() {
				if r.TLS.Version != c.want {
					t.Errorf("%s over %x; want %x", r.Method, r.TLS.Version, c.want)
				}
			}
		})
	}
}

// newTLSProxy has its own certificate, and an endpoint without a scheme.
func newTLSProxy(t *testing.T, maxVersion uint16) *proxy {
	t.Helper()
	p := newStoppedProxy(t)
	p.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: maxVersion}
	p.StartTLS()
	p.options.Endpoint = strings.TrimPrefix(p.URL, "https://")
	p.options.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	if err := os.WriteFile(p.options.CAFile, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestUnknownCertificateFailsAtOnce(t *testing.T) {
	p := newTLSProxy(t, tls.VersionTLS13)
	p.options.CAFile = ""
	began := time.Now()
	_, err := objstore.OpenS3(t.Context(), p.options) // with all its patience
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}
