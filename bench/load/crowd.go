//go:build linux

package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-realtime/realtime/bench/internal/sample"
)

// crowd is all connections, and the loop that serves them. It belongs to one
// goroutine.
type crowd struct {
	*options
	protocol protocol
	conns    []*conn
	byFD     map[int32]*conn
	epoll    int
	ready    []unix.EpollEvent
	buf      []byte // of the connection that is being read

	joined    int // connections that are in their room
	lost      int // connections that the server ended
	delivered int64
	acked     int64

	sampling  bool
	latencies sample.Latencies
}

func newCrowd(o *options) (*crowd, error) {
	p, err := newProtocol(o)
	if err != nil {
		return nil, err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating an epoll instance: %w", err)
	}
	return &crowd{
		options: o, protocol: p, epoll: epoll, byFD: map[int32]*conn{},
		ready: make([]unix.EpollEvent, 1024), buf: make([]byte, 1<<20),
	}, nil
}

// connect opens all connections, a few at a time, and waits until each has
// joined its room.
func (c *crowd) connect() error {
	const (
		ahead   = 128 // connections that may wait for the server
		patient = time.Minute
	)
	deadline := time.Now().Add(patient)
	for len(c.conns) < c.connections || c.joined < c.connections {
		if len(c.conns) < c.connections && len(c.conns)-c.joined < ahead {
			if _, err := c.open(); err != nil {
				return fmt.Errorf("connection %d: %w", len(c.conns), err)
			}
			c.serve(0)
			continue
		}
		c.serve(50 * time.Millisecond)
		if c.lost > 0 || time.Now().After(deadline) {
			return fmt.Errorf("%d of %d connections have joined a room, the server ended %d", c.joined, c.connections, c.lost)
		}
	}
	return nil
}

// serveFor serves the connections for that long.
func (c *crowd) serveFor(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		c.serve(min(time.Until(end), 20*time.Millisecond))
	}
}

// serve reads each connection that has input, and waits for one up to that
// long.
func (c *crowd) serve(wait time.Duration) {
	n, err := unix.EpollWait(c.epoll, c.ready, int(wait.Milliseconds()))
	if err != nil { // interrupted: the caller's loop comes again
		return
	}
	for _, event := range c.ready[:n] {
		if conn := c.byFD[event.Fd]; conn != nil && !conn.read(c.buf) {
			c.forget(conn)
			c.lost++
		}
	}
}

func (c *crowd) forget(conn *conn) {
	delete(c.byFD, int32(conn.fd))
	conn.close()
}

// noteDelivery counts a message that reached a member of its room, noteAck an
// answer to a request.
func (c *crowd) noteDelivery(message []byte) {
	c.delivered++
	c.noteLatency(message)
}

func (c *crowd) noteAck(message []byte) {
	c.acked++
	c.noteLatency(message)
}

func (c *crowd) noteLatency(message []byte) {
	if !c.sampling {
		return
	}
	if sent, ok := sentAt(message); ok {
		c.latencies.Add(time.Duration(time.Now().UnixNano() - sent))
	}
}

// members is how many connections are in a room.
func (c *crowd) members(room int) int64 {
	n := c.connections / c.rooms
	if room < c.connections%c.rooms {
		n++
	}
	return int64(n)
}

// receivers is how many connections get what conn publishes.
func (c *crowd) receivers(conn *conn) int64 {
	if c.protocol.echoes() {
		return c.members(conn.room)
	}
	return c.members(conn.room) - 1
}
