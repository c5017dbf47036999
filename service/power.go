package service

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// power is whether the schedule is on, and what is kept of it in a file.
type power struct {
	Enabled   bool      `json:"enabled"`
	Since     time.Time `json:"since,omitzero"`     // when somebody switched it last
	Installed time.Time `json:"installed,omitzero"` // when a service first ran here
}

const powerFile = "schedule.json"

// loadPower reads the switch. One that cannot be read is on: backups that nobody
// wants are better than none.
func loadPower(folder string, now time.Time, logger *slog.Logger) power {
	fresh := power{Enabled: true, Installed: now}
	if folder == "" {
		return fresh
	}
	path := filepath.Join(folder, powerFile)
	data, err := os.ReadFile(path)
	if err == nil {
		p := fresh
		if err = json.Unmarshal(data, &p); err == nil {
			return p
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		logger.Warn("nobody can tell whether the schedule was on, and it is now", "file", path, "err", err)
	}
	if err := fresh.save(folder); err != nil {
		logger.Warn("whether the schedule is on cannot be kept", "file", path, "err", err)
	}
	return fresh
}

// save writes the switch, as a whole or not at all.
func (p power) save(folder string) error {
	if folder == "" {
		return nil
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	path := filepath.Join(folder, powerFile)
	file, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = file.Write(append(data, '\n'))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		_ = os.Remove(path + ".tmp")
		return err
	}
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// straighten takes back what a clock that was ahead has told.
func (p *power) straighten(now time.Time) {
	if p.Since.After(now) {
		p.Since = now
	}
	if p.Installed.After(now) {
		p.Installed = now
	}
}
