// Package admin shows a service to people and to programs over HTTP: a page, an
// interface for scripts, and the answers that monitoring asks for.
//
// It promises that all but a few open paths want the token, or a session that
// was opened with it; that nothing changes by GET, nor from another site's page;
// that no request reads a storage, a bucket or an archive, so that asking costs
// the backup next to nothing; and that names, errors and logs, whoever wrote
// them, are shown as text and never as markup.
//
// It knows one token, and whoever has it may do everything here. Without a
// certificate the token crosses the network in the clear.
package admin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"

	"golang.org/x/time/rate"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

// Options of New. Service and Runs are required.
type Options struct {
	Service *service.Service
	Runs    *runs.Store
	// Token opens all paths but the open ones; space around it does not count. At
	// least 16 characters, or empty: then nobody gets in, and the page says why.
	Token   []byte
	Metrics http.Handler // of GET /metrics; nil: there is none
	Title   string       // what is backed up, or which host this is
	Version string       // of the program
	Secure  bool         // served with TLS: cookies go no other way
	Logger  *slog.Logger // nil: slog.Default
}

// ErrToken says that a token is too short.
var ErrToken = errors.New("the token has fewer than 16 characters; make one with: openssl rand -base64 32")

const (
	minToken = 16
	maxBody  = 16 << 10 // bytes of a request: the longest is a form with a token

	// A script that runs wild must not take the processor from the backup.
	requestsPerSecond, requestsAtOnce = 50, 100
)

type handler struct {
	Options
	guard    *guard
	sessions *sessions
	limit    *rate.Limiter
	cookie   string // its name
	assets   map[string]asset
	pages    *template.Template
}

// New returns the handler of all paths. It is safe for concurrent use.
func New(o Options) (http.Handler, error) {
	o.Token = bytes.TrimSpace(o.Token)
	if len(o.Token) > 0 && len(o.Token) < minToken {
		return nil, ErrToken
	}
	if o.Service == nil || o.Runs == nil {
		return nil, errors.New("admin: a service and its runs are required")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	h := &handler{
		Options: o, guard: newGuard(o.Token), sessions: newSessions(),
		limit:  rate.NewLimiter(requestsPerSecond, requestsAtOnce),
		cookie: cookieName(o.Title, o.Secure),
	}
	var err error
	if h.assets, h.pages, err = loadAssets(); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return h.wrap(h.mux()), nil
}

// cookieName differs between services, since browsers keep one set of cookies
// for all ports of a host, and two services are often reached through one.
func cookieName(title string, secure bool) string {
	sum := sha256.Sum256([]byte(title))
	name := "firn-" + hex.EncodeToString(sum[:4])
	if secure {
		name = "__Host-" + name
	}
	return name
}

// access is who may use a path.
type access int

const (
	open   access = iota // everybody
	script               // the token or a session; else an error
	person               // a session or the token; else to the login form
)

type route struct {
	pattern string
	access  access
	serve   http.HandlerFunc
}

func (h *handler) routes() []route {
	return []route{
		{"GET /admin/alive", open, h.alive},
		{"GET /admin/monitoring/backup", open, h.monitoring},
		{"GET /assets/{name}", open, h.asset},
		{"GET /{$}", open, h.overview}, // or the login form
		{"POST /login", open, h.login},

		{"POST /logout", person, h.logout},
		{"GET /runs/{id}", person, h.runPage},
		{"POST /ui/schedule", person, h.switchSchedule},

		{"GET /admin/status", script, h.status},
		{"GET /admin/state", script, h.state},
		{"GET /admin/filestats", script, h.fileStats},
		{"POST /admin/backup/{job}", script, h.startBackup},
		{"POST /admin/backup", script, h.startFiles},
		{"POST /admin/archive", script, h.startKind(service.Archive)},
		{"POST /admin/verify", script, h.startKind(service.Verify)},
		{"POST /admin/backup/schedule", script, h.setSchedule(true)},
		{"DELETE /admin/backup/schedule", script, h.setSchedule(false)},
		{"GET /admin/runs", script, h.listRuns},
		{"GET /admin/runs/{id}", script, h.oneRun},
		{"GET /admin/runs/{id}/log", script, h.runLog},
		{"POST /admin/runs/{id}/cancel", script, h.cancel},
		{"GET /metrics", script, h.metrics},
	}
}

func (h *handler) mux() http.Handler {
	mux := http.NewServeMux()
	for _, r := range h.routes() {
		switch r.access {
		case open:
			mux.HandleFunc(r.pattern, r.serve)
		case script:
			mux.HandleFunc(r.pattern, h.forScripts(r.serve))
		case person:
			mux.HandleFunc(r.pattern, h.forPeople(r.serve))
		}
	}
	return mux
}
