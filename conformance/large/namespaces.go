//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// namespaces asks for 100,000 names, 16 by each of 6,250 connections that come
// one after another, 200 at a time, and that go when they have been answered.
// Who is refused one loses its connection, and does not try again.
func namespaces(ctx context.Context, t *trial) error {
	const names, each, atOnce = 100_000, 16, 200
	s, err := t.start(`http://127.0.0.1:{$PORT} {
	realtime {
		namespace ~/room-[0-9]+ {
			on echo {
				ack args...
			}
		}
	}
}
`)
	if err != nil {
		return err
	}
	defer s.stop(t)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	warm, err := s.target().open(ctx)
	if err != nil {
		return err
	}
	warm.reset()
	heap, goroutines, err := s.figures()
	if err != nil {
		return err
	}

	var next, granted, refused atomic.Int64
	began := time.Now()
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for ctx.Err() == nil {
				first := next.Add(each) - each
				if first >= names {
					return
				}
				n := enterMany(ctx, s.target(), int(first), each)
				granted.Add(int64(n))
				refused.Add(int64(each - n))
			}
		})
	}
	most := 0.0
	done := make(chan struct{})
	go func() { defer close(done); all.Wait() }()
	for asking := true; asking; {
		select {
		case <-done:
			asking = false
		case <-time.After(50 * time.Millisecond):
		}
		children, err := s.metric("namespaces{")
		if err != nil {
			return err
		}
		most = max(most, children)
	}
	ended := time.Now()
	t.check(most > 1 && most <= 1001, "at most %.0f namespaces at a time (bound 1000 and the main one); of %d names asked for in %.1f s %d were made, %d not", most, names,
		ended.Sub(began).Seconds(), granted.Load(), refused.Load())
	back := until(ctx, 60*time.Second-time.Since(ended), func() bool {
		h, g, err1 := s.figures()
		left, err2 := s.metric("namespaces{")
		if err1 != nil || err2 != nil || left > 1 || g > goroutines+10 || h > heap+4*mega {
			return false
		}
		t.say("heap %.1f MB before, %.1f MB after; goroutines %d and %d", float64(heap)/mega, float64(h)/mega, goroutines, g)
		return true
	})
	t.check(back, "namespaces, heap and goroutines are back after %.1f s (bound 60 s)", time.Since(ended).Seconds())
	return nil
}

// enterMany enters n namespaces from the first on, on a connection that it gets
// in the end, and reports how many let it in before it was closed.
func enterMany(ctx context.Context, to target, first, n int) (entered int) {
	c, err := to.open(ctx)
	for err != nil && sleep(ctx, 100*time.Millisecond) {
		c, err = to.open(ctx)
	}
	if err != nil {
		return 0
	}
	defer c.reset()
	for i := range n {
		name := fmt.Sprintf("/room-%d,", first+i)
		if _, err := c.ask("40"+name, "40"+name); err != nil {
			return i
		}
	}
	return n
}
