package verify

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// While an archiver moves files forward, publishes versions and deletes old
// ones, nothing that is fine is reported.
func TestArchiverAtWork(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(43, 1))
	a := newArchive(t, "")
	plain := files{}.random(random, "all", 150, 0)
	for night := range 3 {
		plain = plain.random(random, fmt.Sprint("f", night), 20, 0)
		a.night("s", maps.Clone(plain))
	}
	o := a.options()
	var nights atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for night := 3; ; night++ {
			select {
			case <-stop:
				return
			default:
			}
			for path := range plain {
				if random.IntN(20) == 0 {
					delete(plain, path)
				}
			}
			plain = plain.random(random, fmt.Sprint("f", night), 10, 0)
			a.night("s", maps.Clone(plain), func() { time.Sleep(time.Duration(random.IntN(1000)) * time.Microsecond) })
			a.prune("s")
			nights.Add(1)
		}
	}()
	runs, read, moved := 0, int64(0), int64(0)
	for begin := time.Now(); nights.Load() < 8 || runs < 9; runs++ {
		o.Sample = 0
		if runs%3 == 2 {
			o.Sample = 5
		}
		o.BytesPerSecond = 0
		if runs%3 == 1 {
			o.BytesPerSecond = 600_000 // so that a night passes meanwhile
		}
		report := mustBeFine(t, o)
		read, moved = read+report.Read.Files, moved+report.Misplaced
		if report.Files < 20 {
			t.Fatalf("%+v", report)
		}
		if time.Since(begin) > 2*time.Minute {
			t.Fatalf("%d runs, %d nights", runs, nights.Load())
		}
	}
	close(stop)
	<-done
	t.Logf("%d runs during %d nights read %d files, %d on their way", runs, nights.Load(), read, moved)
}
