//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// slow has 100 of 1,000 members of a room stop reading while 2 KB go out 200
// times a second: 400 MB/s, which one core can send. It measures when the other
// 900 have their messages, in turns while all read and after 100 have stopped,
// who come anew each time. At last only volatile messages go out, which those
// who do not read are not closed for.
func slow(ctx context.Context, t *trial) error {
	const reading, stopping = 900, 100
	text := strings.Repeat("x", 2000)
	s, err := t.start(`http://127.0.0.1:{$PORT} {
	realtime {
		limits {
			fanout off
		}
		on join {
			join data
			ack
		}
		on say {
			broadcast said data "` + text + `" to "all"
		}
		on hint {
			broadcast said data "` + text + `" to "all" volatile
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
	r := &latency{}
	readers := &crowd{target: s.target(), enter: joinAll, stay: r.hear}
	readers.target.buffer = 32 << 10
	readers.come(ctx, reading)
	if !until(ctx, 30*time.Second, func() bool { return readers.in.Load() == reading }) {
		return fmt.Errorf("readers: %s", readers)
	}
	speaking, err := speak(ctx, s.target())
	if err != nil {
		return err
	}
	sleep(ctx, 2*time.Second)
	var alone, beside []float64 // p99 of each second
	before, err := s.usage()
	if err != nil {
		return err
	}
	began, own := time.Now(), ownCPU()
	for range 3 {
		closed, err := s.metric(`sessions_closed_total{hub="",reason="slow consumer"}`)
		if err != nil {
			return err
		}
		var enough atomic.Bool
		stopped := &crowd{target: s.target(), enter: joinAll, stay: func(ctx context.Context, c *client) error {
			for !enough.Load() {
				if _, err := c.receive(); err != nil {
					return err
				}
			}
			return ignore(ctx, c)
		}}
		for range stopping {
			go stopped.visit(ctx)
		}
		sleep(ctx, time.Second)
		alone = r.listen(ctx, alone, 10)
		enough.Store(true)
		stop := time.Now()
		last := make(chan time.Duration, 1)
		go func() {
			err := error(nil)
			// Seldom: to tell its metrics costs the server as much as 500 deliveries.
			for n := 0.0; err == nil && n < closed+stopping && time.Since(stop) < 25*time.Second && sleep(ctx, 500*time.Millisecond); {
				n, err = s.metric(`sessions_closed_total{hub="",reason="slow consumer"}`)
			}
			last <- time.Since(stop)
		}()
		beside = r.listen(ctx, beside, 15)
		took := <-last
		t.check(stopped.entered.Load() == stopping && took < 20*time.Second, "all %d who stopped were closed as slow consumers after %.1f s (bound 20 s)", stopping, took.Seconds())
	}
	without, with := median(alone), median(beside)
	t.check(with <= 1.2*without, "p99 of the others %.2f ms beside them, %.2f ms while they read, %.2f × (bound 1.2 ×): the median of seconds", with, without, with/without)
	after, err := s.usage()
	if err != nil {
		return err
	}
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / time.Since(began).Seconds() }
	t.say("worst second: %.2f ms beside, %.2f ms before; the server used %.0f %% of its core, the clients %.0f %% of theirs", slices.Max(beside), slices.Max(alone),
		share(after.cpu-before.cpu), share(ownCPU()-own))
	t.check(readers.entered.Load() == reading, "the others: %s", readers)

	speaking.event.Store("hint")
	sleep(ctx, time.Second)
	var got atomic.Int64
	late := &crowd{target: s.target(), enter: joinAll, stay: func(ctx context.Context, c *client) error {
		sleep(ctx, 12*time.Second)
		return hear(&got)(ctx, c)
	}}
	sent := speaking.sent.Load()
	for range stopping {
		go late.visit(ctx)
	}
	sleep(ctx, 12*time.Second)
	sent = speaking.sent.Load() - sent
	t.check(late.in.Load() == stopping, "%d of %d who do not read %d volatile messages (%.1f MB) are still in", late.in.Load(), stopping, sent, float64(sent)*2e3/mega)
	sleep(ctx, 2*time.Second)
	all := float64(speaking.sent.Load()) * stopping
	t.check(got.Load() > 0 && float64(got.Load()) < all, "they find some of them, the first and those from now on: %d each", got.Load()/stopping)
	return nil
}

// latency is how long after they were due messages are heard.
type latency struct {
	current atomic.Pointer[waits] // nil: nobody wants to know
}

func (l *latency) hear(_ context.Context, c *client) error {
	for {
		p, err := c.await(`42["said",`)
		if err != nil {
			return err
		}
		digits, _, _ := bytes.Cut(p[len(`42["said",`):], []byte(","))
		due, err := strconv.ParseInt(string(digits), 10, 64)
		if err != nil {
			return err
		}
		if w := l.current.Load(); w != nil {
			w.add(time.Since(time.Unix(0, due)))
		}
	}
}

// listen appends what 99 of 100 messages took at most, in milliseconds, in each
// of so many seconds from now on.
func (l *latency) listen(ctx context.Context, to []float64, seconds int) []float64 {
	for range seconds {
		w := &waits{}
		l.current.Store(w)
		sleep(ctx, time.Second)
		to = append(to, w.percentile(.99))
	}
	return to
}

// speakers send the event with the time when it was due.
type speakers struct {
	event atomic.Value // a string
	sent  atomic.Int64
}

// speak sends 200 messages a second until ctx ends, over three connections,
// since one may send a hundred.
func speak(ctx context.Context, to target) (*speakers, error) {
	sp := &speakers{}
	sp.event.Store("say")
	var clients [3]*client
	for i := range clients {
		c, err := to.open(ctx)
		if err != nil {
			return nil, err
		}
		go func() { _ = read(ctx, c) }() // it ends with the connection
		clients[i] = c
	}
	go func() {
		for due := time.Now(); sleep(ctx, time.Until(due)); due = due.Add(messageEvery) {
			n := sp.sent.Add(1)
			if err := clients[n%int64(len(clients))].send(fmt.Sprintf(`42["%s",%d]`, sp.event.Load(), due.UnixNano())); err != nil {
				return // nobody hears anything then
			}
		}
	}()
	return sp, nil
}

// trickle has 500 polling clients POST a byte every ten seconds, of a thousand
// that they announce.
func trickle(ctx context.Context, t *trial) error {
	const n = 500
	s, err := t.start("http://127.0.0.1:{$PORT} {" + joinAndSay)
	if err != nil {
		return err
	}
	defer s.stop(t)
	var began, gone atomic.Int64
	took := &waits{}
	start := time.Now()
	for range n {
		go func() {
			if postSlowly(ctx, s.target(), &began) == nil {
				took.add(time.Since(start))
				gone.Add(1)
			}
		}()
	}
	t.check(until(ctx, 5*time.Second, func() bool { return began.Load() == n }), "%d POSTs have begun", began.Load())
	until(ctx, 30*time.Second, func() bool { return gone.Load() == n })
	longest := time.Duration(took.most.Load()).Seconds()
	t.check(gone.Load() == n && longest < 23, "%d of %d are gone, the last after %.1f s (bound 20 s, and 3 to notice)", gone.Load(), n, longest)
	left, err := s.metric("sessions{")
	t.check(err == nil && left == 0, "%.0f sessions are left", left)
	return nil
}

// postSlowly returns nil when the server has ended the request.
func postSlowly(ctx context.Context, to target, began *atomic.Int64) error {
	c, err := to.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	const path = "/socket.io/?EIO=4&transport=polling"
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, to.addr); err != nil {
		return err
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(body), `"sid":"`)
	sid, _, ok := strings.Cut(rest, `"`)
	if !ok {
		return fmt.Errorf("no session: %s", body)
	}
	if _, err := fmt.Fprintf(c, "POST %s&sid=%s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\n\r\n4", path, sid, to.addr); err != nil {
		return err
	}
	began.Add(1)
	go func() {
		for sleep(ctx, 10*time.Second) {
			if _, err := c.Write([]byte("x")); err != nil {
				return // it is closed
			}
		}
	}()
	_, _ = io.Copy(io.Discard, in) // an answer, perhaps, and the end
	return nil
}
