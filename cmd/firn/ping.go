package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/chipster/firn/internal/config"
	"github.com/chipster/firn/internal/runs"
)

// pinger tells a watcher elsewhere, such as healthchecks.io, of each run: one
// that hears nothing knows that this host is gone. Its URLs are secrets.
type pinger struct {
	cfg    *config.Config // nil: nobody is told
	log    *slog.Logger
	client http.Client
	active sync.WaitGroup
}

// pingTimeout bounds a ping: three of them, which a program that has to end waits
// for, take less than the 30 seconds after which it would be killed.
const pingTimeout = 5 * time.Second

func newPinger(cfg *config.Config, log *slog.Logger) *pinger {
	return &pinger{cfg: cfg, log: log, client: http.Client{Timeout: pingTimeout}}
}

// ping begins to get the URL that is configured for the role of the run's job. A
// run that was ended by somebody says nothing of success or failure.
func (p *pinger) ping(role string, r *runs.Run) {
	key := "backup-ping-failure"
	switch r.Result {
	case runs.Succeeded:
		key = "backup-ping-success"
	case runs.Cancelled, runs.Interrupted:
		return
	}
	if p.cfg == nil {
		return
	}
	address, err := p.cfg.String(key, role)
	if err == nil && address == "" {
		return
	}
	p.active.Go(func() {
		if err == nil {
			err = p.get(address)
		}
		for n := 1; err != nil && address != "" && n < 3; n++ {
			time.Sleep(time.Second)
			err = p.get(address)
		}
		if err != nil {
			p.log.Warn("nobody could be told of the run", "key", key, "job", r.Job, "error", err)
		}
	})
}

func (p *pinger) get(address string) error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, nil)
	if err != nil {
		return errors.New("this is no URL") // which the error would show
	}
	answer, err := p.client.Do(request)
	if err != nil {
		var inURL *url.Error
		if errors.As(err, &inURL) {
			err = inURL.Err
		}
		return err
	}
	defer answer.Body.Close()
	if _, err := io.CopyN(io.Discard, answer.Body, 64<<10); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer.StatusCode >= 300 {
		return fmt.Errorf("the answer is %s", answer.Status)
	}
	return nil
}

// wait returns when all have been told, or it was given up.
func (p *pinger) wait() { p.active.Wait() }
