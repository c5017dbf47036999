package objstore_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/objstore"
)

// TestWhatIsRepeated: what may pass is tried again, with four attempts in all;
// what will not is not.
func TestWhatIsRepeated(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	for _, c := range []struct {
		status   int
		code     string
		attempts int
		is       error
		text     string
	}{
		{503, "SlowDown", 4, nil, "SlowDown"},
		{503, "ServiceUnavailable", 4, nil, "ServiceUnavailable"},
		{500, "InternalError", 4, nil, "InternalError"},
		{502, "", 4, nil, "Bad Gateway"},
		{504, "", 4, nil, "Gateway Timeout"},
		{429, "TooManyRequests", 4, nil, "TooManyRequests"},
		{429, "", 4, nil, "Too Many Requests"},
		{400, "RequestTimeout", 4, nil, "RequestTimeout"},
		{400, "InvalidRequest", 1, nil, "InvalidRequest"},
		{400, "BadDigest", 1, nil, "BadDigest"},
		{403, "AccessDenied", 1, objstore.ErrDenied, "AccessDenied"},
		{403, "RequestTimeTooSkewed", 1, nil, "set the clock"},
		{404, "NoSuchBucket", 1, objstore.ErrNotFound, "check the bucket"},
		{404, "NoSuchKey", 1, objstore.ErrNotFound, "NoSuchKey"},
	} {
		t.Run(fmt.Sprint(c.status, c.code), func(t *testing.T) {
			p.set(refuse(c.status, c.code, ""))
			err := s.Put(t.Context(), "the/key", []byte("data"))
			if err == nil {
				t.Fatal("no error")
			}
			if n := len(p.seen()); n != c.attempts {
				t.Errorf("%d attempts; want %d", n, c.attempts)
			}
			for _, text := range []string{c.text, `"the/key"`, p.options.Bucket, p.URL} {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q is not in the error: %v", text, err)
				}
			}
			for _, kind := range []error{objstore.ErrDenied, objstore.ErrNotFound, objstore.ErrChanged} {
				if errors.Is(err, kind) != (kind == c.is) {
					t.Errorf("is %q: %t: %v", kind, kind != c.is, err)
				}
			}
		})
	}
}

func TestRefusedConnection(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	p.Close()
	err := s.Put(t.Context(), "x", nil)
	if err == nil || !strings.Contains(err.Error(), "connection refused, after 4 attempts") || !strings.Contains(err.Error(), p.URL) {
		t.Errorf("error %v", err)
	}
}

// TestRetriesAreCounted: what is repeated shows in the count, whichever way a
// request failed, and what is not does not.
func TestRetriesAreCounted(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	data := string(noise(1, 1<<20))
	put(t, s, "x", data)
	check := func(what string, want int64, do func()) {
		t.Helper()
		before := objstore.Retries()
		do()
		if n := objstore.Retries() - before; n != want {
			t.Errorf("%s: %d retries; want %d", what, n, want)
		}
	}
	check("well", 0, func() { get(t, s, "x") })
	p.set(refuse(503, "SlowDown", ""))
	check("refused four times", 3, func() { _ = s.Put(t.Context(), "y", nil) })
	p.set(refuse(403, "AccessDenied", ""))
	check("denied", 0, func() { _ = s.Put(t.Context(), "y", nil) })
	cut := false
	p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !cut {
			cut = true
			cutAfter(1000)(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
	check("cut off once", 1, func() {
		if get(t, s, "x") != data {
			t.Error("other data")
		}
	})
}

// TestPatience: what heals within the patience is not noticed, and what does
// not ends soon after it.
func TestPatience(t *testing.T) {
	const patience = time.Second
	p := newProxy(t)
	s, err := objstore.OpenS3Patient(t.Context(), p.options, patience)
	if err != nil {
		t.Fatal(err)
	}
	data := string(noise(1, 1<<20))
	put(t, s, "x", data)
	for name, fault := range map[string]hook{"answers": refuse(503, "SlowDown", ""), "bodies": cutAfter(0)} {
		t.Run(name, func(t *testing.T) {
			down := time.Now()
			p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if time.Since(down) < patience*4/5 {
					fault(w, r, next)
				} else {
					next.ServeHTTP(w, r)
				}
			})
			if get(t, s, "x") != data {
				t.Error("other data")
			}
			p.set(fault)
			began := time.Now()
			r, err := s.Get(t.Context(), "x", 0, -1)
			if err == nil {
				defer r.Close()
				_, err = r.Read(make([]byte, 1))
			}
			if err == nil || !strings.Contains(err.Error(), " attempts in 1s") {
				t.Errorf("error %v", err)
			}
			if took := time.Since(began); took < patience || took > 3*patience {
				t.Errorf("gave up after %v", took)
			}
		})
	}
}

// TestDenials: each permission that is missing has its own message.
func TestDenials(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	u := create(t, s, "part")
	p.set(refuse(403, "AccessDenied", "no"))
	_, headErr := s.Head(t.Context(), "x")
	_, getErr := s.Get(t.Context(), "x", 0, -1)
	_, createErr := s.Create(t.Context(), "x")
	_, uploadsErr := s.AbortUploads(t.Context(), "")
	_, openErr := objstore.OpenS3Hasty(t.Context(), p.options, time.Second)
	errs := map[error]string{
		headErr:                          "may not read it: ask for s3:GetObject",
		getErr:                           "may not read it: ask for s3:GetObject, or for s3:ListBucket",
		createErr:                        "may not write it: ask for s3:PutObject",
		s.Put(t.Context(), "x", nil):     "may not write it: ask for s3:PutObject",
		u.WritePart(t.Context(), 1, nil): "may not write it: ask for s3:PutObject",
		u.Abort():                        "may not abort uploads: ask for s3:AbortMultipartUpload",
		s.Delete(t.Context(), "x"):       "may not delete it: ask for s3:DeleteObject",
		uploadsErr:                       "may not list uploads: ask for s3:ListBucketMultipartUploads",
		openErr:                          "may not list the bucket: ask for s3:ListBucket",
	}
	for _, err := range s.List(t.Context(), "") {
		errs[err] = "may not list the bucket: ask for s3:ListBucket"
	}
	if len(errs) != 10 {
		t.Errorf("%d errors", len(errs))
	}
	for err, want := range errs {
		if !errors.Is(err, objstore.ErrDenied) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want %q", err, want)
		}
	}
	// The keys themselves are wrong, or a lock keeps the object.
	for code, message := range map[string]string{"SignatureDoesNotMatch": "check", "AccessDenied": "protected by object lock"} {
		p.set(refuse(403, code, message))
		if err := s.Put(t.Context(), "x", nil); !errors.Is(err, objstore.ErrDenied) || strings.Contains(err.Error(), "may not") {
			t.Errorf("%s: %v", code, err)
		}
	}
	p.set(nil)
}
