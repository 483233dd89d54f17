package engine

import (
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-realtime/realtime/internal/guard"
)

// A TLS connection cannot be tried: its Read waits for whole records, and a
// Write that was cut short breaks it. So its socket is asked. While there is
// nothing to read, the connection holds neither a goroutine nor a buffer; a
// client that sends half a record costs both until the rest comes.

// securedBy returns the socket below a TLS connection, nil if there is none.
func securedBy(nc net.Conn) syscall.RawConn {
	if c, ok := nc.(*tls.Conn); ok {
		return tryable(c.NetConn())
	}
	return nil
}

var smallBuffers = sync.Pool{New: func() any { return new([smallRead]byte) }}

// startSecure reads what came with the handshake, which the poller does not
// know of, and goes on.
func (c *conn) startSecure() { c.readSecure(c.readHeld) }

// readArrived reads what the poller has told of.
func (c *conn) readArrived() { c.readSecure(c.readBurst) }

// readRested goes on where a pause was; there may be nothing to read.
func (c *conn) readRested() {
	c.readSecure(func(b *Batch, buf []byte) bool { return !c.arrived(b) || c.readBurst(b, buf) })
}

// readSecure reads until there is nothing more, beginning with first, and
// leaves c to the poller, or to the wheel if it has to rest.
func (c *conn) readSecure(first func(*Batch, []byte) bool) {
	defer c.session.server.caught("reader", c.session)
	next := toEnd // also if it panics
	defer func() {
		if next == toEnd {
			c.session.server.poller.remove(c)
		}
	}()
	guard.Fault("reader")
	buf := smallBuffers.Get().(*[smallRead]byte)
	defer smallBuffers.Put(buf)
	b := NewBatch()
	defer b.Flush()
	for read := first; ; {
		switch {
		case c.pause(b):
			next = toRest
			return
		case c.input.HasBacklog():
			if !c.catchUp(b) {
				return
			}
		case !read(b, buf[:]):
			return
		default:
			read = c.readBurst
			c.pay(b)
		}
		runtime.Gosched() // those that were told of with c add to what goes out
		b.write()
		for !c.input.HasBacklog() && !c.arrived(b) {
			if c.park() {
				next = toWait
				return
			}
		}
	}
}

// readBurst reads what has arrived, at least one record. It waits for the rest
// of that one; then for a moment only, since answers are waiting to go out.
func (c *conn) readBurst(b *Batch, buf []byte) (goOn bool) {
	goOn, late := c.readBy(b, buf)
	for turn := 1; ; turn++ {
		if !goOn || !c.readHeld(b, buf) {
			return false
		}
		if late || c.input.HasBacklog() || turn == turnSize || c.unpaid >= readSize || !c.arrived(b) {
			return true
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		goOn, late = c.readBy(b, buf)
	}
}

var longAgo = time.Unix(1, 0)

// readHeld reads the records that TLS has taken from the socket already. With
// a deadline that has passed it finds no others, and goes on where it was when
// that is lifted: crypto/tls keeps only errors that are not temporary.
func (c *conn) readHeld(b *Batch, buf []byte) (goOn bool) {
	// These fail on a connection that is gone only, which the next read finds.
	_ = c.SetReadDeadline(longAgo)
	for late := false; !late; {
		if goOn, late = c.readBy(b, buf); !goOn {
			return false
		}
	}
	_ = c.SetReadDeadline(time.Time{})
	return true
}

// arrived reports whether there is something to read, be it the end.
func (c *conn) arrived(b *Batch) bool {
	b.try.p, b.try.call = nil, peek
	n, err := b.try.result(c.raw.Read(b.try.once))
	return n > 0 || err != nil
}

func peek(fd int, _ []byte) (int, error) {
	var one [1]byte
	n, _, err := syscall.Recvfrom(fd, one[:], syscall.MSG_PEEK)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// secureChunk is what a socket takes at once when it says that it is writable:
// a third of its buffer, which has 256 KB, is free then.
const secureChunk = 16 << 10

// writeSecure writes as much of p as can be written without waiting. There is
// room for it, unless the kernel is short of memory: then a deadline ends the
// connection, since a worker must not wait long. None is left behind: while one
// has passed, the socket cannot even be asked, and crypto/tls could not answer
// a client's key update.
func (a *attempt) writeSecure(c *conn, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		a.p, a.call = nil, writable
		ready, failed := a.result(c.raw.Write(a.once))
		if ready == 0 || failed != nil {
			return n, failed
		}
		var m int
		m, err = c.writeWithin(p[n:min(n+secureChunk, len(p))], c.session.config.WriteTimeout)
		n += m
	}
	return n, err
}

func writable(fd int, _ []byte) (int, error) {
	return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
}
