// Package heartbeat keeps showing others that a run is alive, and tells the run
// when it cannot have been seen for so long that another one may have taken its
// place.
//
// It promises that a host that slept learns of it before it shows itself again:
// what is written after a sleep does not give the place back. It does not know how
// others see the beats, nor when they take a run for dead; that has to be later
// than the run gives up by itself.
package heartbeat

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// ErrLost says that a run did not show for too long.
var ErrLost = errors.New("for minutes nobody could be told that this run goes on, and another may have taken its place; run it again")

// Heart beats for one run. Its methods are safe for concurrent use, but for Keep
// and Stop, which are called once each.
type Heart struct {
	beat    func(context.Context) error
	lost    time.Duration
	last    atomic.Int64 // Unix nanoseconds
	stop    context.CancelFunc
	stopped chan struct{}
}

// New makes a Heart that shows itself with beat, and gives up when the last one
// that succeeded is longer ago than lost.
func New(lost time.Duration, beat func(context.Context) error) *Heart {
	return &Heart{beat: beat, lost: lost}
}

// Beat shows that the run is alive.
func (h *Heart) Beat(ctx context.Context) error {
	at := time.Now()
	err := h.beat(ctx)
	if err == nil {
		h.Seen(at)
	}
	return err
}

// Seen notes when the run was last seen alive. Only the wall clock tells: the
// other one stands still while a host sleeps.
func (h *Heart) Seen(at time.Time) { h.last.Store(at.UnixNano()) }

// Check returns ErrLost when others may take the run for dead. It is asked before
// what others see, and what cannot be taken back.
func (h *Heart) Check() error {
	if since := time.Now().UnixNano() - h.last.Load(); since < 0 || since > int64(h.lost) {
		return ErrLost
	}
	return nil
}

// Keep beats in the background until Stop. The context that it returns ends with
// ctx, and with ErrLost as its cause once the run is lost.
func (h *Heart) Keep(ctx context.Context, every time.Duration) context.Context {
	held, lose := context.WithCancelCause(ctx)
	// A run that is told to end is alive until it has.
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stopped = make(chan struct{})
	h.stop = stop
	go func() {
		defer close(h.stopped)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-beating.Done():
				return
			case <-tick.C:
			}
			err := h.Check()
			if err == nil {
				attempt, cancel := context.WithTimeout(beating, every)
				_ = h.Beat(attempt) // what counts is when it last succeeded
				cancel()
				err = h.Check()
			}
			if err != nil {
				lose(err)
				return
			}
		}
	}()
	return held
}

// Stop ends what Keep began. No beat is under way any more when it returns.
func (h *Heart) Stop() {
	if h.stop != nil {
		h.stop()
		<-h.stopped
	}
}

// Reason is the error of a run that had a context of Keep's, or why it had to end.
func Reason(held context.Context, err error) error {
	if cause := context.Cause(held); err != nil && errors.Is(cause, ErrLost) {
		return cause
	}
	return err
}

// BootID tells this system from others, and from itself before it was started
// anew. Where the system does not tell, it is "".
func BootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}
