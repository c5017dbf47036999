package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	sessionLife = 12 * time.Hour
	maxSessions = 100
)

// sessions are those who gave the token in the login form. They are in memory:
// a restart ends them. Safe for concurrent use.
type sessions struct {
	mu   sync.Mutex
	ends map[[sha256.Size]byte]time.Time // by the hash, so that the time of a look-up tells nothing of the secret
}

func newSessions() *sessions { return &sessions{ends: map[[sha256.Size]byte]time.Time{}} }

// begin returns the secret of a new session. The one that ends first makes room.
func (s *sessions) begin() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var first [sha256.Size]byte
	for key, end := range s.ends {
		if !end.After(now) {
			delete(s.ends, key)
		} else if s.ends[first].IsZero() || end.Before(s.ends[first]) {
			first = key
		}
	}
	if len(s.ends) >= maxSessions {
		delete(s.ends, first)
	}
	secret := rand.Text() + rand.Text() // of at least 128 random bits each
	s.ends[sha256.Sum256([]byte(secret))] = now.Add(sessionLife)
	return secret
}

func (s *sessions) valid(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	end, ok := s.ends[sha256.Sum256([]byte(secret))]
	return ok && end.After(time.Now())
}

func (s *sessions) end(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ends, sha256.Sum256([]byte(secret)))
}
