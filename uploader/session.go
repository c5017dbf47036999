package uploader

import (
	"sync"

	"github.com/chipster/firn/internal/envelope"
)

// sessions lends the session keys of packages. Whoever opens files needs a
// private-key operation for each key, or a tenth of a second where it is a
// passphrase's; so some packages of small files share one. It is safe for
// concurrent use.
type sessions struct {
	recipients envelope.Recipients

	mu     sync.Mutex
	shared *session // nil: the next one makes it
}

// packagesPerSession is how many packages of small files share a session key.
const packagesPerSession = 16

// session is a session key that is lent.
type session struct {
	*envelope.Session
	lent  int // times, in all
	users int // that have not given it back
}

// take lends a session key. Whoever has it gives it back.
func (s *sessions) take(small bool) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := s.shared
	if !small || key == nil {
		made, err := s.recipients.NewSession()
		if err != nil {
			return nil, err
		}
		key = &session{Session: made}
	}
	key.lent++
	key.users++
	if small {
		if s.shared = key; key.lent == packagesPerSession {
			s.shared = nil
		}
	}
	return key, nil
}

// put takes a session key back, and forgets it after its last use.
func (s *sessions) put(key *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key.users--; key.users == 0 && key != s.shared {
		key.Wipe()
	}
}

// close forgets the key that is still lent.
func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared != nil {
		s.shared.Wipe()
	}
	s.shared = nil
}
