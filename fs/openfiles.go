package fs

import (
	"sync"
	"sync/atomic"
)

// openFiles are the sealed files that are open.
type openFiles struct {
	mu       sync.Mutex
	files    map[fileID]*openFile
	openings atomic.Int64
}

// share returns the file that was opened before, or nil.
func (o *openFiles) share(id fileID) *openFile {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.files[id]
	if f != nil {
		f.users++
	}
	return f
}

// add returns f, or the file that somebody else opened meanwhile.
func (o *openFiles) add(f *openFile) *openFile {
	o.mu.Lock()
	defer o.mu.Unlock()
	if other := o.files[f.id]; other != nil {
		other.users++
		return other
	}
	f.users = 1
	if o.files == nil {
		o.files = map[fileID]*openFile{}
	}
	o.files[f.id] = f
	return f
}

// leave tells whether it was the last one who had the file open.
func (o *openFiles) leave(f *openFile) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f.users--; f.users > 0 {
		return false
	}
	delete(o.files, f.id)
	return true
}

func (o *openFiles) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.files)
}

// closeFiles closes what is still open when the mount has ended: the kernel does
// not always tell that files were closed.
func (t *tree) closeFiles() {
	t.files.mu.Lock()
	left := t.files.files
	t.files.files = nil
	t.files.mu.Unlock()
	for _, f := range left {
		_ = f.close()
	}
}
