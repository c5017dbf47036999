package memorytest

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Peak tells by how many bytes the heap grew at most while do ran, as far as
// looking often shows. What C libraries take, or those that manage memory of their
// own, as SQLite's does, is not in it. No other test may run meanwhile.
func Peak(do func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // what is garbage does not count
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	runtime.GC() // what was garbage before does not count either
	metrics.Read(heap)
	before, most := heap[0].Value.Uint64(), uint64(0)
	done, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for {
			metrics.Read(heap)
			most = max(most, heap[0].Value.Uint64())
			select {
			case <-done:
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	}()
	do()
	close(done)
	<-stopped
	return most - min(most, before)
}
