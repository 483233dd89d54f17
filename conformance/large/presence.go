//go:build linux

package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// flapping has one of 10,000 members leave and come back ten times a second,
// without the grace that would hide it, and measures what that costs all.
// Announcements are switched on when all are in: else it would take hours, at
// 1 MB/s, until 10,000 are told of 10,000.
func flapping(ctx context.Context, t *trial) error {
	const n = 10_000
	config := func(announce string) string {
		return `http://127.0.0.1:{$PORT} {
	realtime {
		presence {
			announce ` + announce + `
			grace off
		}
		on appear {
			appear data
			ack
		}
	}
}
`
	}
	s, err := t.start(config("off"))
	if err != nil {
		return err
	}
	defer s.stop(t)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var bytes, told, id atomic.Int64
	members := &crowd{target: s.target(), enter: func(c *client) error {
		_, err := c.ask(fmt.Sprintf(`421["appear","member-%05d"]`, id.Add(1)), "431")
		return err
	}, stay: func(_ context.Context, c *client) error {
		for {
			if _, err := c.receive(); err != nil {
				return err
			}
			told.Add(1)
			bytes.Add(int64(c.rest))
		}
	}}
	began := time.Now()
	members.come(ctx, n)
	if !until(ctx, 60*time.Second, func() bool { return members.in.Load() == n }) {
		return fmt.Errorf("members: %s", members)
	}
	t.say("%d members are in after %.1f s", n, time.Since(began).Seconds())
	if err := s.reload(config("diff")); err != nil {
		return err
	}
	sleep(ctx, 5*time.Second)

	measure := func(d time.Duration) (used time.Duration, sent, events int64, err error) {
		before, err := s.usage()
		if err != nil {
			return 0, 0, 0, err
		}
		b, e := bytes.Load(), told.Load()
		sleep(ctx, d)
		after, err := s.usage()
		return after.cpu - before.cpu, bytes.Load() - b, told.Load() - e, err
	}
	const long = 15 * time.Second
	idle, _, _, err := measure(long)
	if err != nil {
		return err
	}
	flaps, gone := 0, make(chan struct{})
	flapping, stop := context.WithCancel(ctx)
	go func() {
		defer close(gone)
		flaps = flap(flapping, s.target())
	}()
	sleep(ctx, time.Second)
	cpu, sent, events, err := measure(long)
	stop()
	<-gone
	if err != nil {
		return err
	}
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / long.Seconds() }
	rate := float64(sent) / mega / long.Seconds()
	t.check(flaps >= 9*int(long.Seconds()), "one of them came and went %d times in %.0f s", flaps, long.Seconds()+1)
	t.check(rate <= 1.2, "%.2f MB/s to all (bound 1.2 MB/s), %.0f announcements a second", rate, float64(events)/long.Seconds())
	t.check(share(cpu-idle) < 5, "%.1f %% of a core for it (bound 5 %%); %.1f %% while nobody flaps", share(cpu-idle), share(idle))
	t.check(members.entered.Load() == n && members.in.Load() == n, "members: %s", members)
	return nil
}

// flap comes and goes ten times a second until ctx ends, and counts how often.
func flap(ctx context.Context, to target) (times int) {
	for due := time.Now(); sleep(ctx, time.Until(due)); due = due.Add(100 * time.Millisecond) {
		c, err := to.open(ctx)
		if err != nil {
			return times
		}
		if _, err := c.ask(`421["appear","flapping"]`, "431"); err == nil {
			times++
		}
		c.reset()
	}
	return times
}
