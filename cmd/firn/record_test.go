package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/archiver"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/internal/verify"
	"github.com/chipster/firn/uploader"
)

func TestResultOf(t *testing.T) {
	for err, want := range map[error]runs.Result{
		nil:                    runs.Succeeded,
		uploader.ErrIncomplete: runs.Incomplete,
		archiver.ErrIncomplete: runs.Incomplete,
		verify.ErrDamaged:      runs.Incomplete,
		uploader.ErrLocked:     runs.Failed,
		objstore.ErrDenied:     runs.Failed,
		context.Canceled:       runs.Interrupted,
		errors.New("another"):  runs.Failed,
	} {
		if err != nil {
			err = fmt.Errorf("storage: %w", err)
		}
		if got := resultOf(err); got != want {
			t.Errorf("%v: %s, not %s", err, got, want)
		}
	}
}

// The line of a run is one line, with everything that a script may ask for, and
// is an error where the run was not done.
func TestLogRun(t *testing.T) {
	began := time.Date(2026, 1, 2, 1, 10, 0, 0, time.UTC)
	for result, level := range map[runs.Result]string{runs.Succeeded: "INFO", runs.Incomplete: "INFO", runs.Failed: "ERROR", runs.Interrupted: "ERROR"} {
		var out bytes.Buffer
		logRun(slog.New(slog.NewTextHandler(&out, nil)), &runs.Run{
			Job: "auth", Trigger: runs.Retry, Attempt: 2, Started: began, Ended: began.Add(90 * time.Second), Result: result, Error: "two\nlines",
			Files: map[string]int64{"total": 3, "new": 1}, Made: []string{"auth-db-backup_x"},
		})
		want := "level=" + level + ` msg=run job=auth result=` + string(result) +
			` trigger=retry attempt=2 seconds=90 files.new=1 files.total=3 made=[auth-db-backup_x] error="two\nlines"` + "\n"
		if _, line, _ := strings.Cut(out.String(), " "); line != want {
			t.Errorf("got  %swant %s", line, want)
		}
	}
}
