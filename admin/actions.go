package admin

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

// notices are what the page says after an action. The address names one of them,
// so that no link can have the page say something else.
var notices = map[string]string{
	"started":   "It starts as soon as nothing else runs.",
	"busy":      "It is running or waiting already.",
	"cancelled": "It is being cancelled.",
	"over":      "It is not running any more, or is not this service’s.",
	"on":        "The schedule is on.",
	"off":       "The schedule is off.",
}

// done answers an action that was taken, or was not for a reason that is none to
// worry: people are sent back to the page, scripts get the code and v.
func (h *handler) done(w http.ResponseWriter, r *http.Request, notice string, code int, v any) {
	if !wantsPage(r) {
		h.json(w, code, v)
		return
	}
	back := "/"
	if id := r.PostFormValue("run"); id != "" {
		back = "/runs/" + url.PathEscape(id)
	}
	http.Redirect(w, r, back+"?notice="+notice, http.StatusSeeOther)
}

func (h *handler) start(w http.ResponseWriter, r *http.Request, job string) {
	err := h.Service.Start(job)
	switch {
	case err == nil:
		h.Logger.Info("start asked for", "job", job, "remote", r.RemoteAddr)
		h.done(w, r, "started", http.StatusAccepted, map[string]string{"job": job})
	case errors.Is(err, service.ErrQueued):
		h.done(w, r, "busy", http.StatusConflict, map[string]string{"error": job + ": " + err.Error()})
	case errors.Is(err, service.ErrNoJob):
		h.fail(w, r, http.StatusNotFound, err.Error())
	default:
		h.Logger.Error("cannot start", "job", job, "error", err)
		h.fail(w, r, http.StatusInternalServerError, err.Error())
	}
}

// startBackup starts a backup by the name of its job.
func (h *handler) startBackup(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("job")
	for _, job := range h.Service.State().Jobs {
		if job.Name == name && (job.Kind == service.Files || job.Kind == service.Database) {
			h.start(w, r, name)
			return
		}
	}
	h.fail(w, r, http.StatusNotFound, "no backup of that name is made here")
}

func (h *handler) startFiles(w http.ResponseWriter, r *http.Request) {
	h.startKind(service.Files)(w, r)
}

// startKind starts the job of a kind, of which there is one at most.
func (h *handler) startKind(kind service.Kind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, job := range h.Service.State().Jobs {
			if job.Kind == kind {
				h.start(w, r, job.Name)
				return
			}
		}
		h.fail(w, r, http.StatusNotFound, "this service has no job of the kind "+string(kind))
	}
}

func (h *handler) setSchedule(on bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h.Service.SetSchedule(on); err != nil {
			h.Logger.Error("schedule cannot be switched", "error", err)
			h.fail(w, r, http.StatusInternalServerError, err.Error())
			return
		}
		notice := "off"
		if on {
			notice = "on"
		}
		h.Logger.Info("schedule switched", "to", notice, "remote", r.RemoteAddr)
		h.done(w, r, notice, http.StatusOK, map[string]bool{"scheduleOn": on})
	}
}

// switchSchedule is setSchedule for forms, which cannot send DELETE.
func (h *handler) switchSchedule(w http.ResponseWriter, r *http.Request) {
	h.setSchedule(r.PostFormValue("on") == "true")(w, r)
}

func (h *handler) cancel(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	err := h.Service.Cancel(id)
	if err == nil {
		h.Logger.Info("cancelling asked for", "run", id, "remote", r.RemoteAddr)
		h.done(w, r, "cancelled", http.StatusAccepted, map[string]string{"run": id})
		return
	}
	if _, err := h.Runs.Run(id); errors.Is(err, runs.ErrNoRun) {
		h.failRun(w, r, err)
		return
	}
	h.done(w, r, "over", http.StatusConflict, map[string]string{"error": err.Error()})
}
