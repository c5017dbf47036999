package objstore_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

var quiet = log.New(io.Discard, "", 0)

func TestGetResumes(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	data := string(noise(1, 3<<20))
	put(t, s, "x", data)
	p.set(cutAfter(1 << 20))
	if get(t, s, "x") != data {
		t.Error("other data")
	}
	requests := p.seen()
	if len(requests) < 3 {
		t.Fatalf("%d requests: nothing was cut", len(requests))
	}
	for _, r := range requests[1:] {
		if r.Header.Get("If-Match") == "" || !strings.HasPrefix(r.Header.Get("Range"), "bytes=") {
			t.Errorf("resumed without If-Match or Range: %v", r.Header)
		}
	}
	r, err := s.Get(t.Context(), "x", 5, 2<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != data[5:5+2<<20] {
		t.Errorf("range: other data, or %v", err)
	}
}

func TestGetGivesUp(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	put(t, s, "x", "some data")
	p.set(cutAfter(0))
	r, err := s.Get(t.Context(), "x", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 2 { // the error stays
		if n, err := io.Copy(io.Discard, r); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("read %d, %v; want io.ErrUnexpectedEOF", n, err)
		}
	}
	if n := len(p.seen()); n != 4 {
		t.Errorf("%d attempts; want 4", n)
	}
}

func TestGetOfReplaced(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	old := string(noise(1, 2<<20))
	for name, c := range map[string]struct {
		replace func()
		want    error
	}{
		"longer":  {func() { put(t, s, "x", string(noise(2, 3<<20))) }, objstore.ErrChanged},
		"as long": {func() { put(t, s, "x", string(noise(2, 2<<20))) }, objstore.ErrChanged},
		"shorter": {func() { put(t, s, "x", "short") }, objstore.ErrChanged},
		"deleted": {func() { _ = s.Delete(t.Context(), "x") }, objstore.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			p.set(nil)
			put(t, s, "x", old)
			p.set(first(1, cutAfter(1<<20)))
			r, err := s.Get(t.Context(), "x", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			p.set(nil)
			c.replace()
			got, err := io.ReadAll(r)
			if !errors.Is(err, c.want) || !strings.HasPrefix(old, string(got)) {
				t.Errorf("read %d bytes, %v; want %v", len(got), err, c.want)
			}
		})
	}
}

func TestGetOfReplacedWithoutIfMatch(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	put(t, s, "x", string(noise(1, 2<<20)))
	p.set(first(1, cutAfter(1<<20)))
	r, err := s.Get(t.Context(), "x", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.Header().Set("ETag", `"another"`)
		w.Header().Set("Content-Range", strings.Replace(r.Header.Get("Range"), "=", " ", 1)+"/2097152")
		w.Header().Set("Content-Length", "1048576")
		w.WriteHeader(http.StatusPartialContent)
	})
	if _, err := io.ReadAll(r); !errors.Is(err, objstore.ErrChanged) {
		t.Errorf("error %v; want ErrChanged", err)
	}
}

func TestStall(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	data := string(noise(1, 8<<20))
	put(t, s, "x", data)
	t.Run("body", func(t *testing.T) {
		p.set(first(1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Header().Set("ETag", etagOf(next, r))
			_, _ = io.WriteString(w, data[:1<<20])
			_ = http.NewResponseController(w).Flush()
			p.stall(w, r, next)
		}))
		if get(t, s, "x") != data {
			t.Error("other data")
		}
	})
	t.Run("answer", func(t *testing.T) {
		p.set(first(1, p.stall))
		if _, err := s.Head(t.Context(), "x"); err != nil {
			t.Error(err)
		}
	})
	t.Run("upload", func(t *testing.T) {
		p.set(first(1, p.stall))
		put(t, s, "y", data)
		if get(t, s, "y") != data {
			t.Error("other data")
		}
	})
}

// etagOf asks the server itself: the request, answered elsewhere.
func etagOf(next http.Handler, r *http.Request) string {
	w := &headerWriter{header: http.Header{}}
	next.ServeHTTP(w, r)
	return w.header.Get("ETag")
}

type headerWriter struct{ header http.Header }

func (w *headerWriter) Header() http.Header         { return w.header }
func (w *headerWriter) WriteHeader(int)             {}
func (w *headerWriter) Write(p []byte) (int, error) { return len(p), nil }

// TestTransientFaults lets each request fail twice, in all the ways.
func TestTransientFaults(t *testing.T) {
	for name, fault := range map[string]hook{
		"SlowDown":      refuse(503, "SlowDown", "please"),
		"InternalError": refuse(500, "InternalError", "again"),
		"reset":         func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
		"cut answer":    cutAfter(40),
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t)
			s := p.open(t)
			p.set(first(2, fault))
			data := string(noise(1, objstore.MinPart+1))
			put(t, s, "small", "data")
			n, err := objstore.WriteStream(t.Context(), s, "large", strings.NewReader(data), objstore.MinPart)
			if err != nil || n != int64(len(data)) {
				t.Fatalf("WriteStream: %d, %v", n, err)
			}
			if get(t, s, "small") != "data" || get(t, s, "large") != data {
				t.Error("other data")
			}
			if got := list(t, s, ""); len(got) != 2 {
				t.Errorf("listed %q", got)
			}
			if _, err := s.Head(t.Context(), "small"); err != nil {
				t.Error(err)
			}
			if err := s.Delete(t.Context(), "small", "large"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPermanentFault(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	p.set(refuse(503, "SlowDown", "please"))
	began := time.Now()
	_, headErr := s.Head(t.Context(), "x")
	_, getErr := s.Get(t.Context(), "x", 0, -1)
	_, createErr := s.Create(t.Context(), "x")
	errs := map[string]error{
		"Get": getErr, "Create": createErr, "Put": s.Put(t.Context(), "x", nil), "Delete": s.Delete(t.Context(), "x"),
	}
	for _, err := range s.List(t.Context(), "") {
		errs["List"] = err
	}
	for op, err := range errs {
		if err == nil || !strings.Contains(err.Error(), "SlowDown") || !strings.Contains(err.Error(), "4 attempts") {
			t.Errorf("%s: %v", op, err)
		}
	}
	if headErr == nil { // its answer has no text
		t.Error("Head: no error")
	}
	if n := len(p.seen()); n != 6*4 {
		t.Errorf("%d requests; want 4 for each of 6", n)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestFailedUploadIsAborted(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	for name, isFaulty := range map[string]func(*http.Request) bool{
		"part":     func(r *http.Request) bool { return r.Method == "PUT" && r.URL.Query().Get("partNumber") == "2" },
		"complete": func(r *http.Request) bool { return r.Method == "POST" && r.URL.Query().Has("uploadId") },
	} {
		t.Run(name, func(t *testing.T) {
			p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if isFaulty(r) {
					refuse(500, "InternalError", "no")(w, r, next)
				} else {
					next.ServeHTTP(w, r)
				}
			})
			_, err := objstore.WriteStream(t.Context(), s, "x", strings.NewReader(string(noise(1, 3*objstore.MinPart))), objstore.MinPart)
			if err == nil || !strings.Contains(err.Error(), "InternalError") {
				t.Errorf("error %v", err)
			}
			p.set(nil)
			if left := objstoretest.Uploads(t, p.options); len(left) > 0 {
				t.Errorf("not aborted: %q", left)
			}
			if got := list(t, s, ""); len(got) > 0 {
				t.Errorf("visible: %q", got)
			}
		})
	}
}

// TestLostComplete loses the answer to a Complete, after which the service
// knows the upload no more.
func TestLostComplete(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	part := string(noise(1, 1000))
	for name, arrives := range map[string]bool{"arrived": true, "not arrived": false} {
		t.Run(name, func(t *testing.T) {
			p.set(nil)
			put(t, s, "x", string(noise(2, 1000))) // as long, but another one
			u := create(t, s, "x")
			writePart(t, u, 1, part)
			p.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				switch {
				case r.Method != "POST":
					next.ServeHTTP(w, r)
				case len(p.seen()) > 1:
					refuse(404, "NoSuchUpload", "gone")(w, r, next)
				default:
					if arrives {
						next.ServeHTTP(&headerWriter{http.Header{}}, r)
					}
					panic(http.ErrAbortHandler)
				}
			})
			err := u.Complete(t.Context())
			if arrives && (err != nil || get(t, s, "x") != part) {
				t.Errorf("Complete: %v, or other data", err)
			}
			if !arrives && (err == nil || errors.Is(err, objstore.ErrNotFound)) {
				t.Errorf("Complete of what did not arrive: %v", err)
			}
			p.set(nil)
		})
	}
}

func TestDeleteErrors(t *testing.T) {
	p := newProxy(t)
	s := p.open(t)
	keys := make([]string, 1500)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	p.set(first(1, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		_, _ = io.WriteString(w, `<DeleteResult><Error><Key>k1</Key><Code>AccessDenied</Code><Message>no</Message></Error>`+
			`<Error><Key>k2</Key><Code>InternalError</Code><Message>bad luck</Message></Error>`+
			`<Error><Key>k3</Key><Code>NoSuchKey</Code></Error></DeleteResult>`)
	}))
	err := s.Delete(t.Context(), keys...)
	if !errors.Is(err, objstore.ErrDenied) {
		t.Fatalf("error %v; want ErrDenied among them", err)
	}
	for text, want := range map[string]bool{`"k1"`: true, `"k2"`: true, "bad luck": true, `"k3"`: false} {
		if strings.Contains(err.Error(), text) != want {
			t.Errorf("%s in the error: want %t: %v", text, want, err)
		}
	}
	if n := len(p.seen()); n != 2 {
		t.Errorf("%d requests; want both batches tried once", n)
	}
}
