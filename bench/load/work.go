//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/caddy-realtime/realtime/bench/internal/sample"
)

// figures are what was measured: name → value. Names end in their unit.
type figures map[string]float64

// measure connects, does the work for the measured time, and returns what that
// cost the server.
func measure(o *options) (figures, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	c, err := newCrowd(o)
	if err != nil {
		return nil, err
	}
	meter := sample.NewMeter(o.pid)
	if o.work == "connect" {
		return c.reconnect(meter)
	}
	work, ok := map[string]func(*crowd, figures) int64{
		"fanout": (*crowd).fanout, "latency": (*crowd).latency, "ack": (*crowd).ack, "idle": (*crowd).idle,
	}[o.work]
	if !ok {
		return nil, fmt.Errorf("unknown work %q: use fanout, latency, ack, idle or connect", o.work)
	}

	before, err := meter.Read()
	if err != nil {
		return nil, err
	}
	if err := c.connect(); err != nil {
		return nil, err
	}
	c.serveFor(o.settle)
	rest, err := meter.Read()
	if err != nil {
		return nil, err
	}
	f := figures{
		"connect_us_cpu_per_conn": sample.PerOperation(rest.CPU-before.CPU, int64(o.connections)),
		"mem_bytes_per_conn":      float64(rest.Memory-before.Memory) / float64(o.connections),
		"mem_total_mb":            float64(rest.Memory) / 1e6,
	}

	if o.work == "fanout" || o.work == "ack" { // the first second fills buffers and caches
		warm := *o
		warm.duration = time.Second
		c.options = &warm
		work(c, figures{})
		c.options = o
	}
	c.sampling = true
	c.latencies.Reset()
	start := time.Now()
	if before, err = meter.Read(); err != nil {
		return nil, err
	}
	operations := work(c, f)
	after, err := meter.Read()
	if err != nil {
		return nil, err
	}
	cpu := after.CPU - before.CPU
	switch {
	case o.work == "idle":
		f["idle_cpu_percent"] = 100 * cpu.Seconds() / time.Since(start).Seconds()
	case operations == 0:
		return nil, fmt.Errorf("%s: the server did nothing", o.work)
	case o.work == "ack":
		f["us_cpu_per_ack"] = sample.PerOperation(cpu, operations)
	default:
		f["us_cpu_per_delivery"] = sample.PerOperation(cpu, operations)
	}
	if operations > 0 {
		f["latency_ms_p50"], f["latency_ms_p99"] = c.latencies.Percentile(.5), c.latencies.Percentile(.99)
	}
	f["closed_by_server"] = float64(c.lost)
	return f, nil
}

// overdue is how long work waits for what it has sent and not got back.
const overdue = 5 * time.Second

// await serves until got has come to want, or that is overdue.
func (c *crowd) await(got *int64, want int64) {
	for end := time.Now().Add(overdue); *got < want && time.Now().Before(end); {
		c.serve(20 * time.Millisecond)
	}
}

// fanout keeps a window of messages in flight for each sender: as fast as the
// server can. It returns how many were delivered.
func (c *crowd) fanout(f figures) int64 {
	senders := c.conns[:c.senders]
	var each int64 // deliveries of one message by each sender
	for _, s := range senders {
		each += c.receivers(s)
	}
	start, base, want := time.Now(), c.delivered, int64(0)
	for time.Since(start) < c.duration {
		for ; want-(c.delivered-base) < int64(c.window)*each; want += each {
			for _, s := range senders {
				s.send(c.protocol.publish(s, time.Now().UnixNano()))
			}
		}
		c.serve(100 * time.Millisecond)
	}
	c.await(&c.delivered, base+want)
	got := c.delivered - base
	f["deliveries_per_s"] = float64(got) / time.Since(start).Seconds()
	f["lost"] = float64(want - got)
	return got
}

// latency publishes at a fixed rate, whatever the server does. A message counts
// from when it was due, so that a server that holds up the sender is seen.
func (c *crowd) latency(f figures) int64 {
	interval := time.Duration(float64(time.Second) / c.rate)
	base, want := c.delivered, int64(0)
	next := time.Now()
	for i, end := 0, next.Add(c.duration); next.Before(end); i++ {
		for wait := time.Until(next); wait > 0; wait = time.Until(next) {
			c.serve(min(wait, 10*time.Millisecond))
		}
		s := c.conns[i%c.senders]
		s.send(c.protocol.publish(s, next.UnixNano()))
		want += c.receivers(s)
		next = next.Add(interval)
	}
	c.await(&c.delivered, base+want)
	got := c.delivered - base
	f["lost"] = float64(want - got)
	return got
}

// ack keeps a window of requests in flight for each connection. It returns how
// many were answered.
func (c *crowd) ack(f figures) int64 {
	start, base, asked := time.Now(), c.acked, int64(0)
	for time.Since(start) < c.duration {
		for ; asked-(c.acked-base) < int64(c.window*c.connections); asked++ {
			conn := c.conns[asked%int64(c.connections)]
			conn.send(c.protocol.request(conn, time.Now().UnixNano()))
		}
		c.serve(100 * time.Millisecond)
	}
	c.await(&c.acked, base+asked)
	got := c.acked - base
	f["acks_per_s"] = float64(got) / time.Since(start).Seconds()
	f["lost"] = float64(asked - got)
	return got
}

// idle holds the connections.
func (c *crowd) idle(figures) int64 {
	c.serveFor(c.duration)
	return 0
}

// reconnect opens a connection, has it join its room, closes it, and begins
// again.
func (c *crowd) reconnect(meter sample.Meter) (figures, error) {
	before, err := meter.Read()
	if err != nil {
		return nil, err
	}
	start, n := time.Now(), int64(0)
	for ; time.Since(start) < c.duration; n++ {
		conn, err := c.open()
		if err != nil {
			return nil, fmt.Errorf("connection %d: %w", n, err)
		}
		for opened := time.Now(); !conn.joined; c.serve(100 * time.Millisecond) {
			if time.Since(opened) > overdue || c.lost > 0 {
				return nil, fmt.Errorf("connection %d did not join its room", n)
			}
		}
		c.forget(conn)
		c.conns = c.conns[:0]
	}
	took := time.Since(start)
	after, err := meter.Read()
	if err != nil {
		return nil, err
	}
	return figures{
		"us_cpu_per_connect": sample.PerOperation(after.CPU-before.CPU, n),
		"connects_per_s":     float64(n) / took.Seconds(),
	}, nil
}
