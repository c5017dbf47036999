package heartbeat

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

var errDeaf = errors.New("nobody hears")

// A run whose beats are heard goes on; one whose beats are not ends, and is told
// why, though its own error is another.
func TestKeep(t *testing.T) {
	var beats atomic.Int64
	var deaf atomic.Bool
	h := New(200*time.Millisecond, func(context.Context) error {
		if deaf.Load() {
			return errDeaf
		}
		beats.Add(1)
		return nil
	})
	if err := h.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	held := h.Keep(t.Context(), 5*time.Millisecond)
	time.Sleep(400 * time.Millisecond)
	if held.Err() != nil || beats.Load() < 10 || h.Check() != nil {
		t.Fatalf("%v after %d beats", context.Cause(held), beats.Load())
	}
	deaf.Store(true)
	select {
	case <-held.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on though nobody hears")
	}
	if err := Reason(held, held.Err()); !errors.Is(err, ErrLost) || errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := Reason(held, nil); err != nil {
		t.Errorf("all was done: %v", err)
	}
	h.Stop()
}

// A host that slept, or whose clock went back, does not show itself again first.
func TestSleep(t *testing.T) {
	for _, since := range []time.Duration{time.Hour, -time.Hour} {
		var beats atomic.Int64
		h := New(time.Minute, func(context.Context) error { beats.Add(1); return nil })
		h.Seen(time.Now().Add(-since))
		held := h.Keep(t.Context(), time.Millisecond)
		<-held.Done()
		if !errors.Is(context.Cause(held), ErrLost) || beats.Load() != 0 {
			t.Errorf("%v: %v after %d beats", since, context.Cause(held), beats.Load())
		}
		h.Stop()
	}
}

// After Stop nothing is written any more, and the run is not said to be lost.
func TestStop(t *testing.T) {
	var beats atomic.Int64
	h := New(time.Minute, func(context.Context) error { beats.Add(1); return nil })
	h.Stop() // was never kept
	h.Seen(time.Now())
	held := h.Keep(t.Context(), time.Millisecond)
	h.Stop()
	n := beats.Load()
	time.Sleep(20 * time.Millisecond)
	if beats.Load() != n || held.Err() != nil {
		t.Errorf("%d beats after %d, %v", beats.Load(), n, held.Err())
	}
	ctx, cancel := context.WithCancel(t.Context())
	h = New(time.Minute, func(context.Context) error { return nil })
	h.Seen(time.Now())
	held = h.Keep(ctx, time.Millisecond)
	cancel()
	h.Stop()
	if err := Reason(held, held.Err()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
