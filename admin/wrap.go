package admin

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// policy lets the page load what the program itself serves, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// wrap adds what holds for all paths.
func (h *handler) wrap(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.Logger.Warn("refused a request from another site", "remote", r.RemoteAddr, "path", r.URL.Path, "origin", r.Header.Get("Origin"))
		h.fail(w, r, http.StatusForbidden, "requests from other sites are refused")
	}))
	next = protection.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		answer := &recorder{ResponseWriter: w, code: http.StatusOK}
		setHeaders(w.Header())
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		// Who asks whether the program lives kills it where the answer is no.
		if r.URL.Path != "/admin/alive" && !h.limit.Allow() {
			w.Header().Set("Retry-After", "1")
			h.fail(answer, r, http.StatusTooManyRequests, "too many requests")
		} else {
			next.ServeHTTP(answer, r)
		}
		h.Logger.Debug("request", "method", r.Method, "path", r.URL.Path, "status", answer.code,
			"remote", r.RemoteAddr, "seconds", time.Since(began).Seconds())
	})
}

func setHeaders(header http.Header) {
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: forms would be sent with the origin "null" then, and where
	// there is no TLS, nothing else tells them from those of other sites.
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
}

// recorder remembers the code of an answer.
type recorder struct {
	http.ResponseWriter
	code int
}

func (a *recorder) WriteHeader(code int) {
	a.code = code
	a.ResponseWriter.WriteHeader(code)
}

func (a *recorder) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// wantsPage tells a browser, which sent a form or follows a link, from a script.
func wantsPage(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

// fail answers with an error: a page for people, JSON for programs.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, code int, text string) {
	if wantsPage(r) {
		h.errorPage(w, code, text)
		return
	}
	h.json(w, code, map[string]string{"error": text})
}

func (h *handler) json(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		h.Logger.Debug("answer was not sent", "error", err)
	}
}
