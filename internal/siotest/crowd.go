package siotest

import (
	"bufio"
	"net"
	"sync/atomic"
	"testing"

	"github.com/caddy-realtime/realtime/internal/wsclient"
)

// Crowd is WebSocket clients that discard what they get, and count it: for
// benchmarks, in which a Conn would cost more than what is measured. They
// answer no pings.
type Crowd struct {
	t       testing.TB
	frames  atomic.Int64
	target  atomic.Int64
	reached chan struct{}
}

// NewCrowd returns a crowd of nobody.
func NewCrowd(t testing.TB) *Crowd { return &Crowd{t: t, reached: make(chan struct{}, 1)} }

// Open opens a WebSocket at path on conn, which is the crowd's from then on. It
// does not wait for the first frame.
func (c *Crowd) Open(conn net.Conn, path string) {
	c.t.Helper()
	r := bufio.NewReaderSize(conn, 2<<10)
	if err := wsclient.Open(conn, r, "mem", path); err != nil {
		c.t.Fatalf("opening %s: %v", path, err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for discardFrame(r) == nil {
			if c.frames.Add(1) == c.target.Load() {
				select {
				case c.reached <- struct{}{}:
				default:
				}
			}
		}
	}()
	c.t.Cleanup(func() {
		conn.Close()
		<-read
	})
}

// Wait waits until all clients together have got n frames since they opened.
// It belongs to one goroutine.
func (c *Crowd) Wait(n int64) {
	c.target.Store(n)
	for c.frames.Load() < n {
		<-c.reached
	}
}

func discardFrame(r *bufio.Reader) error {
	_, size, err := wsclient.ReadHeader(r)
	if err == nil {
		_, err = r.Discard(size)
	}
	return err
}
