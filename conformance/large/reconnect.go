//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"time"
)

const joinAndSay = `
	realtime {
		on join {
			join data
			ack
		}
		on say {
			emit said data to "all"
		}
	}
}
`

func reconnect(ctx context.Context, t *trial) error {
	return comeBack(ctx, t, "http://127.0.0.1:{$PORT} {"+joinAndSay, nil, 60*time.Second)
}

func reconnectTLS(ctx context.Context, t *trial) error {
	// The certificate is the server's own; to verify it is not what is measured.
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	return comeBack(ctx, t, "https://localhost:{$PORT} {\n\ttls internal"+joinAndSay, config, 120*time.Second)
}

// comeBack has the server killed under clients that are all in a room, and
// measures from the end of the old process until the last is in again.
// Loopback clients are exempt from limits per address; all others are the
// default ones, 1,000 new connections a second among them.
func comeBack(ctx context.Context, t *trial, config string, secure *tls.Config, bound time.Duration) error {
	const n = 15_000
	s, err := t.start(config)
	if err != nil {
		return err
	}
	defer s.stop(t)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var heard atomic.Int64
	everybody := &crowd{target: s.target(), enter: joinAll}
	if secure != nil {
		everybody.target.tls, everybody.target.host = secure, "localhost:"+s.ports["PORT"]
	}
	everybody.stay = hear(&heard)
	in := func() bool { return everybody.in.Load() == n }

	began := time.Now()
	everybody.come(ctx, n)
	t.check(until(ctx, bound, in), "%d of %d joined at first in %.1f s", everybody.in.Load(), n, time.Since(began).Seconds())
	everybody.recount()

	if err := s.kill(); err != nil {
		return err
	}
	began = time.Now()
	t.check(until(ctx, 2*time.Second, func() bool { return everybody.in.Load() == 0 }), "all have noticed that the server was killed")
	sleep(ctx, 2*time.Second-time.Since(began))
	if err := s.boot(); err != nil {
		return err
	}
	listening := time.Since(began)
	for _, part := range []float64{.5, .9, 1} {
		ok := until(ctx, bound-time.Since(began), func() bool { return everybody.in.Load() >= int64(part*n) })
		t.check(ok, "%3.0f %% of %d joined again after %.1f s (bound %.0f s for all)", 100*part, n, time.Since(began).Seconds(), bound.Seconds())
	}
	used, err := s.usage()
	if err != nil {
		return err
	}
	t.say("it listened after %.1f s; clients: %s, most while it was down", listening.Seconds(), everybody)
	t.say("the server took %.1f s of CPU and has %.0f MB resident", used.cpu.Seconds(), float64(used.resident)/mega)
	return saidToAll(ctx, t, everybody.target, &heard, n)
}

// saidToAll checks that one message reaches everybody, and nobody twice.
func saidToAll(ctx context.Context, t *trial, to target, heard *atomic.Int64, n int64) error {
	speaker, err := to.open(ctx)
	if err != nil {
		return fmt.Errorf("the one who speaks: %w", err)
	}
	defer speaker.reset()
	if err := speaker.send(`42["say","hello"]`); err != nil {
		return err
	}
	until(ctx, 5*time.Second, func() bool { return heard.Load() >= n })
	sleep(ctx, 500*time.Millisecond)
	t.check(heard.Load() == n, "what one says then is heard by %d of %d", heard.Load(), n)
	return nil
}
