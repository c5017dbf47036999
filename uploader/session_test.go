package uploader

import (
	"io"
	"testing"
)

// Packages of small files share a session key, but not for ever; it is forgotten
// when nobody uses it any more, and not before.
func TestSessions(t *testing.T) {
	s := &sessions{}
	var small []*session
	for range 2*packagesPerSession + 1 {
		key, err := s.take(true)
		if err != nil {
			t.Fatal(err)
		}
		small = append(small, key)
	}
	if small[0] != small[packagesPerSession-1] || small[0] == small[packagesPerSession] || small[packagesPerSession] == small[2*packagesPerSession] {
		t.Error("keys are not shared as said")
	}
	large, err := s.take(false)
	other, err2 := s.take(false)
	if err != nil || err2 != nil || large == other || large == small[2*packagesPerSession] {
		t.Errorf("large files share a key: %v, %v", err, err2)
	}
	usable := func(key *session) bool {
		_, err := key.NewWriter(io.Discard, 0)
		return err == nil
	}
	s.put(large)
	if usable(large) || !usable(other) {
		t.Error("a key is kept, or forgotten too early")
	}
	for _, key := range small[:packagesPerSession-1] {
		s.put(key)
	}
	if !usable(small[0]) {
		t.Error("forgotten while a package is being made")
	}
	s.put(small[packagesPerSession-1])
	last := small[2*packagesPerSession]
	s.put(last)
	if usable(small[0]) || !usable(last) {
		t.Error("the first is kept, or the last forgotten though it is to be lent again")
	}
	s.close()
	if usable(last) {
		t.Error("kept after the end")
	}
}
