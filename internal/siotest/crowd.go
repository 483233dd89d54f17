package siotest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
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
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: mem\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path)
	r := bufio.NewReaderSize(conn, 2<<10)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		c.t.Fatalf("opening %s: %v %v", path, resp, err)
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

// discardFrame reads a frame as servers send it: without a mask.
func discardFrame(r *bufio.Reader) error {
	head, err := r.Peek(2)
	if err != nil {
		return err
	}
	size := 2 + int(head[1])
	switch head[1] {
	case 126:
		if head, err = r.Peek(4); err != nil {
			return err
		}
		size = 4 + int(binary.BigEndian.Uint16(head[2:]))
	case 127:
		return errors.New("a frame of more than 64 KB")
	}
	_, err = r.Discard(size)
	return err
}
