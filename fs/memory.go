package fs

import (
	"container/list"
	"sync"

	"github.com/chipster/firn/internal/manifest"
)

// memory is one budget for all open files: decoded blocks, and decoders that
// wait to be asked for what comes next. Both go when others need the room, the
// longest unused first.
type memory struct {
	mu     sync.Mutex
	max    int64
	busy   int64 // bytes of decoders at work
	blocks lru[blockID, []byte]
	idle   lru[*plainReader, *decoder]
}

// blockID names a block by the sealed file it comes from, so that all versions
// that list the file, and all who have it open, share it.
type blockID struct {
	sealed manifest.Hash
	index  int64
}

func newMemory(max int64) *memory {
	return &memory{max: max, blocks: newLRU[blockID, []byte](), idle: newLRU[*plainReader, *decoder]()}
}

func (m *memory) block(id blockID) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.blocks.get(id)
}

func (m *memory) keepBlock(id blockID, block []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocks.put(id, block, int64(len(block)))
	m.trim()
}

// dropBlocks forgets the first count blocks of a file.
func (m *memory) dropBlocks(sealed manifest.Hash, count int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range count {
		m.blocks.remove(blockID{sealed, i})
	}
}

// take gives a reader its decoder back, or nil where it had to go. It counts
// cost as being at work until rest.
func (m *memory) take(r *plainReader, cost int64) *decoder {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.idle.remove(r)
	m.busy += cost
	m.trim()
	return d
}

// rest ends what take began. d is kept if there is room; it can be nil.
func (m *memory) rest(r *plainReader, d *decoder, cost int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy -= cost
	if d != nil {
		m.idle.put(r, d, cost)
	}
	m.trim()
}

// trim holds the budget. A decoder took far longer to get to its place than a
// block to decode, so blocks go first, down to a quarter.
func (m *memory) trim() {
	for m.busy+m.blocks.used+m.idle.used > m.max {
		switch {
		case m.blocks.used > 0 && (m.blocks.used > m.max/4 || m.idle.used == 0):
			m.blocks.removeOldest()
		case m.idle.used > 0:
			m.idle.removeOldest()
		default:
			return // all of it is at work, as many as there are reads at once
		}
	}
}

// lru is a map that knows what was not used for longest.
type lru[K comparable, V any] struct {
	used    int64
	order   *list.List // of *lruItem[K, V]; the front was used last
	entries map[K]*list.Element
}

type lruItem[K comparable, V any] struct {
	key   K
	value V
	cost  int64
}

func newLRU[K comparable, V any]() lru[K, V] {
	return lru[K, V]{order: list.New(), entries: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(key K) (value V) {
	e, ok := l.entries[key]
	if !ok {
		return value
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruItem[K, V]).value
}

func (l *lru[K, V]) put(key K, value V, cost int64) {
	l.remove(key)
	l.entries[key] = l.order.PushFront(&lruItem[K, V]{key, value, cost})
	l.used += cost
}

func (l *lru[K, V]) remove(key K) (value V) {
	e, ok := l.entries[key]
	if !ok {
		return value
	}
	item := l.order.Remove(e).(*lruItem[K, V])
	delete(l.entries, key)
	l.used -= item.cost
	return item.value
}

func (l *lru[K, V]) removeOldest() {
	l.remove(l.order.Back().Value.(*lruItem[K, V]).key)
}
