package runs

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// create makes the log of a run that begins, and locks it.
func (f *folder) create(id string) (*os.File, error) {
	file, err := os.OpenFile(f.path(id, logEnd), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o640)
	if err != nil {
		return nil, err
	}
	// Nobody else holds it for longer than a look at it takes.
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		_ = file.Close()
		_ = os.Remove(file.Name())
		return nil, &os.PathError{Op: "lock", Path: file.Name(), Err: err}
	}
	return file, nil
}

// save writes the record of a run, as a whole or not at all.
func (f *folder) save(run Run) error {
	data, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		return err
	}
	return f.write(f.path(run.ID, recordEnd), append(data, '\n'))
}

// saveAll writes an ended run with its log.
func (f *folder) saveAll(run Run, log []byte) error {
	if err := f.write(f.path(run.ID, logEnd), log); err != nil {
		return err
	}
	return f.save(run)
}

// write replaces a file, and returns when the new one would be there after a
// crash.
func (f *folder) write(path string, data []byte) error {
	file, err := os.OpenFile(path+tmpEnd, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(path+tmpEnd, path)
	}
	if err != nil {
		_ = os.Remove(path + tmpEnd)
		return err
	}
	dir, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// buryIfDead records that a run was interrupted whose process is dead. Of several
// processes that see it, the one with the lock does. A disk that fails is no
// matter: it is told so anyway.
func (f *folder) buryIfDead(id string) {
	if run, ok := f.read(id); !ok || run.Result != Running {
		return
	}
	log, err := os.OpenFile(f.path(id, logEnd), os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		return
	}
	defer log.Close()
	if unix.Flock(int(log.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	if run, ok := f.read(id); ok && run.Result == Running {
		run.Result, run.Ended = Interrupted, f.lastSign(id, run.Started)
		_ = f.save(run)
	}
}

// remove deletes a run; the record first, so that no log is missed.
func (f *folder) remove(id string) {
	f.mu.Lock()
	delete(f.cache, id)
	f.mu.Unlock()
	for _, end := range []string{recordEnd, logEnd} {
		if err := os.Remove(f.path(id, end)); err != nil && !errors.Is(err, os.ErrNotExist) {
			f.warn(id+end, "an old run cannot be deleted", err)
		}
	}
}

// sweep deletes what crashes left behind: half-written files, and logs without a
// record. Those of the last hour may be somebody's who is about to write the rest.
func (f *folder) sweep() {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return
	}
	there := make(map[string]bool, len(entries))
	for _, entry := range entries {
		there[entry.Name()] = true
	}
	for name := range there {
		rest, isTmp := strings.CutSuffix(name, tmpEnd)
		id, isLog := strings.CutSuffix(rest, logEnd)
		id = strings.TrimSuffix(id, recordEnd)
		if !validID(id) || !isTmp && (!isLog || there[id+recordEnd]) {
			continue
		}
		path := filepath.Join(f.dir, name)
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > time.Hour && (isTmp || !f.alive(id)) {
			_ = os.Remove(path)
		}
	}
}
