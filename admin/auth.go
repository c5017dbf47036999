package admin

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const needsToken = "no token is configured: set admin-token-file, or admin-token, and start the service again"

// in tells whether a request comes with a session.
func (h *handler) in(r *http.Request) bool {
	cookie, err := r.Cookie(h.cookie)
	return err == nil && h.sessions.valid(cookie.Value)
}

// bearer is the token of a request's header.
func bearer(r *http.Request) (token string, given bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}

// refusal is why a request is not let in.
type refusal struct {
	code int
	text string
	wait time.Duration
}

// admit returns nil for who may come in. Sessions come first: no guessing of
// others behind the same proxy keeps them out.
func (h *handler) admit(r *http.Request) *refusal {
	if h.guard.none {
		return &refusal{code: http.StatusForbidden, text: needsToken}
	}
	if h.in(r) {
		return nil
	}
	token, given := bearer(r)
	if !given {
		return &refusal{code: http.StatusUnauthorized, text: "the header Authorization: Bearer TOKEN is missing"}
	}
	return h.try(r, token)
}

// try compares a token.
func (h *handler) try(r *http.Request, token string) *refusal {
	right, wait := h.guard.check(r.RemoteAddr, token)
	switch {
	case right:
		return nil
	case wait > 0:
		h.Logger.Warn("too many wrong tokens", "remote", r.RemoteAddr, "path", r.URL.Path)
		return &refusal{code: http.StatusTooManyRequests, text: "too many wrong tokens: wait and try again", wait: wait}
	}
	h.Logger.Warn("wrong token", "remote", r.RemoteAddr, "path", r.URL.Path)
	return &refusal{code: http.StatusUnauthorized, text: "wrong token"}
}

// header writes what a refusal tells besides its text.
func (f *refusal) header(w http.ResponseWriter) {
	if f.code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="firn"`)
	}
	if f.wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.wait/time.Second)+1))
	}
}

// forScripts lets in who has the token or a session.
func (h *handler) forScripts(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if f := h.admit(r); f != nil {
			if _, given := bearer(r); !given && f.code == http.StatusUnauthorized && wantsPage(r) {
				http.Redirect(w, r, "/", http.StatusSeeOther) // whose session is over
				return
			}
			f.header(w)
			h.fail(w, r, f.code, f.text)
			return
		}
		next(w, r)
	}
}

// forPeople sends who has no session to the login form, but where a token was
// given and is wrong.
func (h *handler) forPeople(next http.HandlerFunc) http.HandlerFunc {
	guarded := h.forScripts(next)
	return func(w http.ResponseWriter, r *http.Request) {
		if _, given := bearer(r); !given && !h.guard.none && !h.in(r) {
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		guarded(w, r)
	}
}

func (h *handler) login(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		h.fail(w, r, http.StatusRequestEntityTooLarge, "the form cannot be read")
		return
	}
	f := &refusal{code: http.StatusForbidden, text: needsToken}
	if !h.guard.none {
		f = h.try(r, strings.TrimSpace(r.PostForm.Get("token")))
	}
	if f != nil {
		f.header(w)
		h.loginForm(w, f.code, f.text)
		return
	}
	h.setCookie(w, h.sessions.begin(), sessionLife)
	h.Logger.Info("logged in", "remote", r.RemoteAddr)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (h *handler) logout(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(h.cookie); err == nil {
		h.sessions.end(cookie.Value)
	}
	h.setCookie(w, "", -1)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (h *handler) setCookie(w http.ResponseWriter, value string, life time.Duration) {
	age := -1 // delete it
	if life > 0 {
		age = int(life / time.Second)
	}
	http.SetCookie(w, &http.Cookie{
		Name: h.cookie, Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, Secure: h.Secure, SameSite: http.SameSiteStrictMode,
	})
}
