package engine

import (
	"runtime"
	"sync"

	"github.com/caddy-realtime/realtime/engine/internal/netpoll"
	"github.com/caddy-realtime/realtime/internal/guard"
)

// tlsReader reads a TLS connection while there is input. Workers must not: they
// would wait for the rest of a record.
type tlsReader struct {
	c   *conn
	b   *Batch
	buf [smallRead]byte
}

var tlsReaders = sync.Pool{New: func() any { return new(tlsReader) }}

// ReadOnce is for netpoll.
func (r *tlsReader) ReadOnce() (goOn, late bool) { return r.c.readBy(r.b, r.buf[:]) }

// Enough is for netpoll.
func (r *tlsReader) Enough() bool { return r.c.input.HasBacklog() || r.c.uncounted >= readSize }

func (r *tlsReader) held() bool  { return netpoll.ReadHeld(&r.c.Socket, r) }
func (r *tlsReader) burst() bool { return netpoll.ReadBurst(&r.c.Socket, &r.b.try, r) }

// startTLS reads what came with the handshake, which the poller does not know of,
// and goes on.
func (c *conn) startTLS() { c.readTLS((*tlsReader).held) }

// readArrived reads input that the poller has found.
func (c *conn) readArrived() { c.readTLS((*tlsReader).burst) }

// readRested goes on where a pause was; there may be nothing to read.
func (c *conn) readRested() {
	c.readTLS(func(r *tlsReader) bool { return !r.b.try.Arrived(&c.Socket) || r.burst() })
}

// readTLS reads until there is nothing more, beginning with first, and leaves c
// to the poller, or to the wheel if it has to rest.
func (c *conn) readTLS(first func(*tlsReader) bool) {
	defer c.session.server.caught("reader", c.session)
	next := toEnd // also if it panics
	defer func() {
		if next == toEnd {
			c.session.server.poller.Remove(c)
		}
	}()
	guard.Fault("reader")
	b := NewBatch()
	defer b.Flush()
	r := tlsReaders.Get().(*tlsReader)
	r.c, r.b = c, b
	defer func() {
		r.c, r.b = nil, nil
		tlsReaders.Put(r)
	}()
	for read := first; ; {
		switch {
		case c.pause(b):
			next = toRest
			return
		case c.input.HasBacklog():
			if !c.catchUp(b) {
				return
			}
		case !read(r):
			return
		default:
			read = (*tlsReader).burst
			c.countInput(b)
		}
		runtime.Gosched() // connections that got input with c add to what goes out
		b.write()
		for !c.input.HasBacklog() && !b.try.Arrived(&c.Socket) {
			if c.Park() {
				next = toWait
				return
			}
		}
	}
}
