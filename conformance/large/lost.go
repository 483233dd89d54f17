//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-realtime/realtime/internal/wsclient"
)

// lost has 400 clients of each kind lose their connections, after they made the
// server keep as much as they can: what is counted for them is what the heap
// grows by, and is little.
func lost(ctx context.Context, t *trial) error {
	const n = 400
	auth := `40{"name":"` + strings.Repeat("x", 900_000) + `"}`
	data := `421["set","` + strings.Repeat("x", 16_000) + `"]`
	for _, kind := range []struct {
		name  string
		tls   bool
		more  func(*client) error
		hello string
		bound float64 // bytes of heap for each
	}{
		{name: "plain", hello: "40", bound: 1_500},
		{name: "plain over TLS", tls: true, hello: "40", bound: 1_500},
		{name: "with 900 KB of auth", hello: auth, bound: 1_500},
		{name: "with 900 KB of auth over TLS", tls: true, hello: auth, bound: 1_500},
		{name: "with an unfinished packet of 300 KB", hello: "40", bound: 1_500, more: beginPacketAndLeave},
		{name: "with 16 KB of data", hello: "40", bound: 18_000, more: func(c *client) error { _, err := c.ask(data, "431"); return err }},
	} {
		if err := lostOf(ctx, t, n, kind.name, kind.tls, kind.hello, kind.more, kind.bound); err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
	}
	return nil
}

func lostOf(ctx context.Context, t *trial, n int, name string, secure bool, hello string, more func(*client) error, bound float64) error {
	site := "http://127.0.0.1:{$PORT} {"
	if secure {
		site = "https://localhost:{$PORT} {\n\ttls internal"
	}
	s, err := t.start(site + `
	realtime {
		recovery 10m
		limits {
			bytes off
		}
		on set {
			set data data
			ack
		}
	}
}
`)
	if err != nil {
		return err
	}
	defer s.stop(t)
	target := s.target()
	if secure {
		target.tls, target.host = &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}, "localhost:"+s.ports["PORT"]
	}
	visits := func(n int) error {
		for range n {
			c, err := target.dial(ctx)
			if err != nil {
				return err
			}
			if _, err = c.await("0"); err == nil {
				_, err = c.ask(hello, "40")
			}
			if err == nil && more != nil {
				err = more(c)
			}
			if err != nil {
				return err
			}
			c.reset()
		}
		gone := func() bool {
			open, err := s.metric("sessions{")
			return err == nil && open == 0
		}
		if !until(ctx, 30*time.Second, gone) || !sleep(ctx, 7*time.Second) { // and closed connections are given up
			return fmt.Errorf("sessions are still there")
		}
		return nil
	}
	figures := func() (heap, counted float64, err error) {
		if counted, err = s.metric(`memory_held_bytes{use="recovery"}`); err != nil {
			return 0, 0, err
		}
		bytes, _, err := s.figures()
		return float64(bytes), counted, err
	}
	ready := func() bool { // the certificate may take a moment
		c, err := target.dial(ctx)
		if err == nil {
			c.reset()
		}
		return err == nil
	}
	if !until(ctx, 20*time.Second, ready) {
		return fmt.Errorf("no client comes in")
	}
	if err := visits(n); err != nil { // pools are full then
		return err
	}
	heap, counted, err := figures()
	if err != nil {
		return err
	}
	if err := visits(n); err != nil {
		return err
	}
	heapNow, countedNow, err := figures()
	if err != nil {
		return err
	}
	each, eachCounted := (heapNow-heap)/float64(n), (countedNow-counted)/float64(n)
	t.check(each < bound, "%d lost sockets %s: %.0f bytes of heap each (bound %.0f)", n, name, each, bound)
	t.check(eachCounted > 500 && each < eachCounted*1.25, "%.0f of them are counted (at least four fifths)", eachCounted)
	return nil
}

// beginPacketAndLeave begins a packet of two attachments and sends one.
func beginPacketAndLeave(c *client) error {
	err := c.send(`452-["set",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
	if err != nil {
		return err
	}
	const size = 300_000
	_, err = c.conn.Write(append(wsclient.AppendHeader(nil, wsclient.Binary, size), make([]byte, size)...))
	return err
}
