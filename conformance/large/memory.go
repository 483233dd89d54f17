//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/internal/wsclient"
)

// What is broadcast: 10 KB, 200 times a second, to those in the room. These
// are the ones who do not read and 150 who do: 300 MB/s, which one core can
// send beside all else. The other members are idle.
const (
	idleMembers  = 3850
	readers      = 150
	neverRead    = 500
	neverFinish  = 500
	payload      = 10_000
	messageEvery = 5 * time.Millisecond
)

// memory holds the server to 512 MiB while clients make it keep as much as
// they can: 500 stop reading, of which half also ask for answers of 10 KB that
// nobody else shares, and 500 begin frames and packets and do not finish them.
// All of them come back as often as they are thrown out.
func memory(ctx context.Context, t *trial) error {
	duration := t.duration
	if duration == 0 {
		duration = 5 * time.Minute
	}
	s, err := t.start(`http://127.0.0.1:{$PORT} {
	realtime {
		limits {
			fanout off
		}
		on join {
			join data
			ack
		}
		on echo {
			ack data
		}
		on say {
			broadcast said`+strings.Repeat(` "`+strings.Repeat("x", payload/5)+`"`, 5)+` to "all"
		}
	}
}
http://127.0.0.1:{$SITE} {
	respond "hello"
}
`, withEnv("GOMEMLIMIT=512MiB"))
	if err != nil {
		return err
	}
	defer s.stop(t)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var heard atomic.Int64
	idle := &crowd{target: s.target()}
	reading := &crowd{target: s.target(), enter: joinAll, stay: hear(&heard)}
	reading.target.buffer = 16 << 10
	idle.come(ctx, idleMembers)
	reading.come(ctx, readers)
	t.check(until(ctx, 30*time.Second, func() bool { return idle.in.Load() == idleMembers && reading.in.Load() == readers }),
		"%d idle and %d reading clients are in", idle.in.Load(), reading.in.Load())
	var speakers [4]*client // each says 50 a second, which is within the limit of events
	for i := range speakers {
		if speakers[i], err = s.target().open(ctx); err != nil {
			return err
		}
		go func() { _ = read(ctx, speakers[i]) }() // it ends with the connection
	}

	bad := []*crowd{
		{target: s.target(), enter: joinAll, stay: ignore},
		{target: s.target(), enter: joinAll, stay: askAndIgnore},
		{target: s.target(), stay: beginFrame},
		{target: s.target(), stay: beginPacket},
	}
	for i, c := range bad {
		c.target.narrow = i < 2
		c.come(ctx, (neverRead+neverFinish)/len(bad))
	}
	beside := &probe{}
	asking, stop := context.WithTimeout(ctx, duration)
	defer stop()
	go beside.run(asking, s.url("SITE", "/"), 20*time.Millisecond)
	sent := 0
	var mostResident int64
	var mostHeld float64
	for due := time.Now(); sleep(asking, time.Until(due)); due = due.Add(messageEvery) {
		if err := speakers[sent%len(speakers)].send(`42["say"]`); err != nil {
			return fmt.Errorf("the one who speaks: %w", err)
		}
		if sent++; sent%40 != 0 {
			continue
		}
		used, err := s.usage()
		if err != nil {
			return err
		}
		mostResident = max(mostResident, used.resident)
		if held, err := s.metric("memory_held_bytes"); err == nil {
			mostHeld = max(mostHeld, held)
		}
	}
	t.check(mostResident < 700*mega, "at most %.0f MB resident in %.0f s (bound 700 MB); %.0f MB held for clients at most", float64(mostResident)/mega, duration.Seconds(), mostHeld/mega)
	beside.check(t, "the site beside")
	t.check(beside.percentile(.99) < 100, "99 of 100 of its answers within %.1f ms (bound 100 ms)", beside.percentile(.99))
	t.check(idle.entered.Load() == idleMembers, "idle clients: %s", idle)
	t.check(reading.entered.Load() == readers, "reading clients: %s", reading)
	t.say("%d messages, %.0f a second; those who read have %.0f %% of them", sent, float64(sent)/duration.Seconds(), 100*float64(heard.Load())/float64(sent*readers))
	for i, what := range []string{"do not read", "do not read answers", "do not finish frames", "do not finish packets"} {
		t.say("who %s: %s", what, bad[i])
	}
	return s.sayClosed(t)
}

// sayClosed prints why connections ended and which limits said no.
func (s *server) sayClosed(t *trial) error {
	body, err := fetch(s.url("ADMIN", "/metrics"))
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "caddy_realtime_sessions_closed") || strings.HasPrefix(line, "caddy_realtime_budget") {
			if !strings.HasSuffix(line, " 0\n") {
				t.say("%s", strings.TrimSpace(line))
			}
		}
	}
	return err
}

// ignore does not read. It finds that the connection has ended when it is
// reset, which a write tells.
func ignore(ctx context.Context, c *client) error {
	for sleep(ctx, time.Second) {
		if err := c.send("3"); err != nil {
			return err
		}
	}
	return nil
}

func askAndIgnore(ctx context.Context, c *client) error {
	packet := fmt.Sprintf(`421["echo","%s"]`, strings.Repeat("y", payload))
	for sleep(ctx, 10*time.Millisecond) {
		if err := c.send(packet); err != nil {
			return err
		}
	}
	return nil
}

// beginFrame begins a frame of 900 KB, and sends a third.
func beginFrame(ctx context.Context, c *client) error {
	if _, err := c.conn.Write(append(wsclient.AppendHeader(nil, wsclient.Text, 900_000), make([]byte, 300_000)...)); err != nil {
		return err
	}
	return read(ctx, c)
}

// beginPacket begins a packet of two attachments and sends one.
func beginPacket(ctx context.Context, c *client) error {
	err := c.send(`452-["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
	if err != nil {
		return err
	}
	const size = 300_000
	if _, err := c.conn.Write(append(wsclient.AppendHeader(nil, wsclient.Binary, size), make([]byte, size)...)); err != nil {
		return err
	}
	return read(ctx, c)
}
