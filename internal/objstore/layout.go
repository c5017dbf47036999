package objstore

// layout is where the parts of an upload stand in a file. Nobody knows the
// sizes of the parts that are still to come, but they are mostly alike: by
// that, parts that arrive out of order are placed so that the rest fits in.
type layout struct {
	at      map[int]extent
	largest int64 // part so far
}

type extent struct{ offset, size int64 }

func (e extent) end() int64 { return e.offset + e.size }

// place finds room for part n.
func (l *layout) place(n int, size int64) (int64, error) {
	_, taken := l.at[n]
	if err := checkPart(n, taken); err != nil {
		return 0, err
	}
	if l.at == nil {
		l.at = make(map[int]extent)
	}
	l.largest = max(l.largest, size)
	e := extent{l.guess(n), size}
	if !l.free(e) {
		e.offset = l.end()
	}
	l.at[n] = e
	return e.offset, nil
}

// guess is where part n stands if the missing ones before it are as large as
// the largest seen: the last part, which is smaller, may come early.
func (l *layout) guess(n int) int64 {
	before := n - 1
	for before > 0 {
		if _, ok := l.at[before]; ok {
			break
		}
		before--
	}
	return l.at[before].end() + int64(n-1-before)*l.largest
}

func (l *layout) free(e extent) bool {
	for _, other := range l.at {
		if e.offset < other.end() && other.offset < e.end() {
			return false
		}
	}
	return true
}

func (l *layout) end() int64 {
	var end int64
	for _, e := range l.at {
		end = max(end, e.end())
	}
	return end
}

// inOrder tells whether the file is the parts 1 to len(at), one behind the
// other, and nothing else.
func (l *layout) inOrder() bool {
	var end int64
	for n := 1; n <= len(l.at); n++ {
		if l.at[n].offset != end {
			return false
		}
		end = l.at[n].end()
	}
	return true
}

// pack says that the parts stand one behind the other now.
func (l *layout) pack() {
	var end int64
	for n := 1; n <= len(l.at); n++ {
		l.at[n] = extent{end, l.at[n].size}
		end = l.at[n].end()
	}
}

func (l *layout) remove(n int) { delete(l.at, n) }
