package fs

import "container/list"

// lru is a map that knows what was not used for longest, and how much all that
// is in it takes. It is not safe for concurrent use.
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

func (l *lru[K, V]) get(key K) (value V, ok bool) {
	e, ok := l.entries[key]
	if !ok {
		return value, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruItem[K, V]).value, true
}

func (l *lru[K, V]) put(key K, value V, cost int64) {
	l.remove(key)
	l.entries[key] = l.order.PushFront(&lruItem[K, V]{key, value, cost})
	l.used += cost
}

// remove returns what the item cost; 0: there was none.
func (l *lru[K, V]) remove(key K) (cost int64) {
	e, ok := l.entries[key]
	if !ok {
		return 0
	}
	item := l.order.Remove(e).(*lruItem[K, V])
	delete(l.entries, key)
	l.used -= item.cost
	return item.cost
}

// oldest is the key that was not used for longest. There must be one.
func (l *lru[K, V]) oldest() K {
	return l.order.Back().Value.(*lruItem[K, V]).key
}

func (l *lru[K, V]) empty() bool { return len(l.entries) == 0 }
