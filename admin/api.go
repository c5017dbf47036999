package admin

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/chipster/firn/internal/runs"
)

func text(w http.ResponseWriter, code int, lines ...string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, strings.Join(lines, "\n")+"\n") // who has gone does not read it
}

func (h *handler) alive(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") }

// monitoring answers as the original's services did: monitors look at the code.
func (h *handler) monitoring(w http.ResponseWriter, _ *http.Request) {
	problems := h.Service.Problems()
	if len(problems) == 0 {
		text(w, http.StatusOK, "ok")
		return
	}
	for i, p := range problems {
		problems[i] = visible(p)
	}
	text(w, http.StatusNotFound, problems...)
}

func (h *handler) state(w http.ResponseWriter, _ *http.Request) {
	h.json(w, http.StatusOK, h.Service.State())
}

const (
	runsByDefault = 50
	runsAtMost    = 1000
)

func (h *handler) listRuns(w http.ResponseWriter, r *http.Request) {
	limit := runsByDefault
	if given := r.URL.Query().Get("limit"); given != "" {
		n, err := strconv.Atoi(given)
		if err != nil || n < 1 || n > runsAtMost {
			h.fail(w, r, http.StatusBadRequest, "limit must be a number from 1 to "+strconv.Itoa(runsAtMost))
			return
		}
		limit = n
	}
	list, err := h.Runs.Runs(r.URL.Query().Get("job"), limit)
	if err != nil {
		h.failRun(w, r, err)
		return
	}
	if list == nil {
		list = []runs.Run{} // [], not null
	}
	h.json(w, http.StatusOK, list)
}

func (h *handler) oneRun(w http.ResponseWriter, r *http.Request) {
	run, err := h.Runs.Run(r.PathValue("id"))
	if err != nil {
		h.failRun(w, r, err)
		return
	}
	h.json(w, http.StatusOK, run)
}

func (h *handler) runLog(w http.ResponseWriter, r *http.Request) {
	log, err := h.Runs.Log(r.PathValue("id"))
	if err != nil {
		h.failRun(w, r, err)
		return
	}
	defer log.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := io.Copy(w, log); err != nil {
		h.Logger.Debug("log was not sent", "error", err)
	}
}

// failRun answers where a record cannot be shown.
func (h *handler) failRun(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, runs.ErrNoRun) {
		h.fail(w, r, http.StatusNotFound, "no such run, or no more")
		return
	}
	h.Logger.Error("records of runs cannot be read", "error", err)
	h.fail(w, r, http.StatusInternalServerError, "the records cannot be read; the service's log says why")
}

func (h *handler) metrics(w http.ResponseWriter, r *http.Request) {
	if h.Metrics == nil {
		h.fail(w, r, http.StatusNotFound, "there are no metrics")
		return
	}
	h.Metrics.ServeHTTP(w, r)
}
