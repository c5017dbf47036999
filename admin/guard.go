package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// Wrong tokens that an address may try at once, and then one each time.
	guessesAtOnce = 10
	guessEvery    = 10 * time.Second
	maxAddresses  = 1000
)

// guard compares tokens, and slows those down who guess. Safe for concurrent use.
type guard struct {
	token [sha256.Size]byte
	none  bool // no token is configured: none is right

	mu      sync.Mutex
	guesses map[netip.Prefix]*rate.Limiter // of who guessed wrong lately
	others  *rate.Limiter                  // of all the rest, when there are too many
}

func newGuard(token []byte) *guard {
	return &guard{
		token: sha256.Sum256(token), none: len(token) == 0,
		guesses: map[netip.Prefix]*rate.Limiter{}, others: newGuesses(),
	}
}

func newGuesses() *rate.Limiter { return rate.NewLimiter(rate.Every(guessEvery), guessesAtOnce) }

// check tells whether a token is right. Whoever guessed too often waits first:
// the token was not looked at then, or many requests at once would be a way
// around.
func (g *guard) check(remote, token string) (right bool, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	from := network(remote)
	guesses := g.of(from)
	now := time.Now()
	if left := guesses.TokensAt(now); left < 1 {
		return false, time.Duration((1 - left) * float64(guessEvery))
	}
	// Of hashes, since comparing takes longer for longer tokens.
	given := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(given[:], g.token[:]) == 1 && !g.none {
		return true, 0
	}
	guesses.AllowN(now, 1)
	if guesses != g.others {
		g.guesses[from] = guesses
	}
	return false, 0
}

// of returns what counts for an address. Only wrong tokens are kept, so those
// who have the right one cannot fill the memory.
func (g *guard) of(from netip.Prefix) *rate.Limiter {
	if known := g.guesses[from]; known != nil {
		return known
	}
	if len(g.guesses) >= maxAddresses {
		for address, guesses := range g.guesses {
			if guesses.Tokens() >= guessesAtOnce {
				delete(g.guesses, address)
			}
		}
	}
	if len(g.guesses) >= maxAddresses {
		return g.others
	}
	return newGuesses()
}

// network is who counts as one: an address, or the network that one customer
// gets of IPv6.
func network(remote string) netip.Prefix {
	address, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip := address.Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits) // of as many bits as there are
	return prefix
}
