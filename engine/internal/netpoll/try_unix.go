//go:build unix

package netpoll

import (
	"io"
	"net"
	"syscall"
	"time"
)

// A Try reads or writes what is possible without waiting. It belongs to one
// goroutine at a time. Its callbacks are made once, by Init: a closure for each
// call would be an allocation for each.
type Try struct {
	p    []byte
	n    int
	err  error // syscall.EAGAIN: it would have to wait
	call func(fd int, p []byte) (int, error)
	once func(fd uintptr) bool
}

// Init makes t ready to use.
func (t *Try) Init() {
	t.once = func(fd uintptr) bool {
		t.n, t.err = uninterrupted(t.call, fd, t.p)
		return true
	}
}

func uninterrupted(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, error) {
	for {
		if n, err := call(int(fd), p); err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// Read reads what is there. Nothing, and no error: nothing yet. io.EOF is the
// end. A Secure socket must be read by ReadBurst instead.
func (t *Try) Read(s *Socket, p []byte) (int, error) {
	t.p, t.call = p, readFD
	err := s.raw.Read(t.once)
	if err == nil && t.err == nil && t.n == 0 {
		err = io.EOF
	}
	return t.result(err)
}

// Write writes as much of p as s takes at once. timeout is for a Secure socket:
// it ends a write that has to wait after all.
func (t *Try) Write(s *Socket, p []byte, timeout time.Duration) (int, error) {
	if s.secure {
		return t.writeSecure(s, p, timeout)
	}
	t.p, t.call = p, writeFD
	return t.result(s.raw.Write(t.once))
}

// secureChunk is what a socket takes at once when it says that it is writable,
// if its buffer has 48 KB at least: a third of it is free then.
const secureChunk = 16 << 10

// writeSecure writes as much of p as can be written without waiting: crypto/tls
// breaks a connection whose Write was cut short, so the socket is asked for room
// first. There is room then, unless the kernel is short of memory. No deadline is
// left: while one has passed, the socket cannot even be asked, and crypto/tls
// could not answer a client's key update.
func (t *Try) writeSecure(s *Socket, p []byte, timeout time.Duration) (n int, err error) {
	for n < len(p) && err == nil {
		t.p, t.call = nil, writableFD
		ready, failed := t.result(s.raw.Write(t.once))
		if ready == 0 || failed != nil {
			return n, failed
		}
		var m int
		m, err = s.WriteWithin(p[n:min(n+secureChunk, len(p))], timeout)
		n += m
	}
	return n, err
}

// Arrived reports whether there is something to read, be it the end. It takes
// nothing.
func (t *Try) Arrived(s *Socket) bool {
	t.p, t.call = nil, peekFD
	n, err := t.result(s.raw.Read(t.once))
	return n > 0 || err != nil
}

func (t *Try) result(err error) (int, error) {
	t.p = nil
	switch {
	case err != nil:
		return 0, err
	case t.err == syscall.EAGAIN:
		return 0, nil
	case t.err != nil:
		return 0, t.err
	}
	return t.n, nil
}

// rawConn is the socket of a connection whose bytes are those of the socket.
func rawConn(nc net.Conn) syscall.RawConn {
	c, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
