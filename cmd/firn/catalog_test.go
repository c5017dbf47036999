package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
)

// Where there is no terminal, reading lists is told in the log, and not each time.
func TestListsProgress(t *testing.T) {
	var out bytes.Buffer
	c := cli.NewContext(&cli.App{}, nil, nil)
	c.Context = context.WithValue(t.Context(), loggerKey{}, slog.New(slog.NewTextHandler(&out, nil)))
	version, err := backupname.Parse("s_2024-01-01T01:10:00Z")
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Minute)
	show := &listsProgress{c: c, said: time.Now()}
	tell := func(lines int64) {
		show.tell(catalog.Progress{Version: version, Lines: lines, Done: 3, Versions: 60, Bytes: 10, TotalBytes: 100})
	}
	tell(1000)
	show.said = long
	tell(2000)
	tell(3000)
	show.done()
	tell(4000)
	show.said = long
	tell(5000)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "done=3 of=60 version=s_2024-01-01T01:10:00Z lines=2000") || !strings.Contains(lines[1], "lines=5000") {
		t.Errorf("got %q", lines)
	}
}
