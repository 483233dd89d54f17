//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// updates has 1,000 clients send as fast as the server takes it, which is more
// than it could tell all of them: 100 updates a second of each, told to 1,000,
// would be 10 million a second that arrive. What it takes it tells, in
// batches, and what it cannot tell it takes later: nobody is thrown out for it.
func updates(ctx context.Context, t *trial) error {
	const n = 1000
	s, err := t.start(`http://127.0.0.1:{$PORT} {
	realtime {
		use updates
	}
}
http://127.0.0.1:{$SITE} {
	respond "hello"
}
`)
	if err != nil {
		return err
	}
	defer s.stop(t)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	u := &updating{}
	everybody := &crowd{target: s.target(), stay: u.hear}
	everybody.target.buffer = 64 << 10
	everybody.come(ctx, n)
	if !until(ctx, 30*time.Second, func() bool { return everybody.in.Load() == n }) {
		return fmt.Errorf("clients: %s", everybody)
	}
	beside := &probe{}
	asking, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	go beside.run(asking, s.url("SITE", "/"), 20*time.Millisecond)
	var resident int64
	u.sending.Store(true)
	for sleep(asking, 100*time.Millisecond) {
		used, err := s.usage()
		if err != nil {
			return err
		}
		resident = max(resident, used.resident)
	}
	u.sending.Store(false)
	complete := func() bool {
		return u.taken.Load()+u.refused.Load() == u.sent.Load() && u.heard.Load() == n*u.taken.Load()
	}
	ok := until(ctx, 30*time.Second, complete)
	t.check(ok, "%d updates were sent, %d refused, %d taken, and %d heard by %d clients: %.4f of all", u.sent.Load(), u.refused.Load(), u.taken.Load(),
		u.heard.Load(), n, float64(u.heard.Load())/float64(n*u.taken.Load()))
	t.check(everybody.entered.Load() == n, "clients: %s", everybody)
	t.check(u.most.Load() <= 1000, "%d batches, of %d items at most (bound 1000)", u.batches.Load()/n, u.most.Load())
	t.check(resident < 500*mega, "at most %.0f MB resident (bound 500 MB)", float64(resident)/mega)
	beside.check(t, "the site beside")
	held, err := s.metric("memory_held_bytes")
	t.check(err == nil && held == 0, "%.0f bytes are held afterwards", held)
	return s.sayClosed(t)
}

// updating is what the clients of updates do and see together.
type updating struct {
	sending                                    atomic.Bool
	sent, taken, refused, heard, batches, most atomic.Int64
}

// hear sends updates one after another, each when the last was answered, and
// counts what others sent.
func (u *updating) hear(ctx context.Context, c *client) error {
	var waiting atomic.Bool
	next := func() error {
		u.sent.Add(1)
		return c.send(`421["update",{"n":1}]`)
	}
	go func() {
		for sleep(ctx, 100*time.Millisecond) {
			if u.sending.Load() && waiting.CompareAndSwap(false, true) {
				if next() != nil {
					return // which receive finds
				}
			}
		}
	}()
	for {
		p, err := c.receive()
		if err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(p, []byte(`42["batch-updates"`)):
			items := int64(bytes.Count(p, []byte(`"n":1`)))
			u.heard.Add(items)
			u.batches.Add(1)
			for most := u.most.Load(); items > most && !u.most.CompareAndSwap(most, items); most = u.most.Load() {
			}
			continue
		case bytes.HasPrefix(p, []byte("431[{")):
			u.refused.Add(1)
		case bytes.HasPrefix(p, []byte("431")):
			u.taken.Add(1)
		default:
			continue
		}
		if waiting.Store(u.sending.Load()); waiting.Load() {
			if err := next(); err != nil {
				return err
			}
		}
	}
}

// dedupe sends 50,000 keys: 1,000 by each of 50 clients, all of which are then
// answered from memory, and 50,000 by one, of which the last 1,000 are.
func dedupe(ctx context.Context, t *trial) error {
	const many, each = 50, 1000
	s, err := t.start(`http://127.0.0.1:{$PORT} {
	realtime {
		limits {
			events off
		}
		on order {
			dedupe data 10m
			ack ` + "`uuid()`" + `
		}
	}
}
`)
	if err != nil {
		return err
	}
	defer s.stop(t)
	heap, _, err := s.figures()
	if err != nil {
		return err
	}
	began := time.Now()
	var wrong, failed atomic.Int64
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			c, err := s.target().open(ctx)
			if err != nil {
				failed.Add(1)
				return
			}
			defer c.reset()
			first, err1 := order(c, 0, each)
			again, err2 := order(c, 0, each)
			if err1 != nil || err2 != nil {
				failed.Add(1)
			}
			for i := range again {
				if again[i] != first[i] {
					wrong.Add(1)
				}
			}
		})
	}
	all.Wait()
	t.check(failed.Load() == 0 && wrong.Load() == 0, "%d clients sent %d keys twice: %d of the repeats ran again, %d clients failed", many, each, wrong.Load(), failed.Load())

	c, err := s.target().open(ctx)
	if err != nil {
		return err
	}
	defer c.reset()
	first, err := order(c, 0, many*each)
	if err != nil {
		return err
	}
	last, err := order(c, (many-1)*each, each)
	if err != nil {
		return err
	}
	old, err := order(c, 0, each)
	if err != nil {
		return err
	}
	same := func(a, b []string) (n int) {
		for i := range a {
			if a[i] == b[i] {
				n++
			}
		}
		return n
	}
	t.check(same(last, first[(many-1)*each:]) == each, "of one client's last %d keys %d were answered from memory", each, same(last, first[(many-1)*each:]))
	t.check(same(old, first) == 0, "of its first %d, %d were", each, same(old, first))
	t.say("%d events in %.1f s", 3*many*each+2*each, time.Since(began).Seconds())
	now, _, err := s.figures()
	t.check(err == nil && now < heap+70*mega, "heap %.1f MB before, %.1f MB after", float64(heap)/mega, float64(now)/mega)
	return err
}

// order sends keys one after another and returns the answers.
func order(c *client, first, n int) (answers []string, err error) {
	for i := range n {
		p, err := c.ask(fmt.Sprintf(`421["order","key-%d"]`, first+i), "431")
		if err != nil {
			return answers, err
		}
		answers = append(answers, string(p))
	}
	return answers, nil
}
