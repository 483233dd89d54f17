//go:build unix

package engine

import (
	"io"
	"net"
	"syscall"
)

// An attempt reads or writes what is possible without waiting. Its callbacks
// are made once: a closure for each call would be an allocation for each.
type attempt struct {
	p    []byte
	n    int
	err  error // syscall.EAGAIN: it would have to wait
	call func(fd int, p []byte) (int, error)
	once func(fd uintptr) bool
}

func (a *attempt) init() {
	a.once = func(fd uintptr) bool {
		a.n, a.err = uninterrupted(a.call, fd, a.p)
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

// write writes as much of p as c takes at once.
func (a *attempt) write(c *conn, p []byte) (int, error) {
	a.p, a.call = p, syscall.Write
	err := c.raw.Write(a.once)
	return a.result(err)
}

// read reads what is there. Nothing, and no error: nothing yet. io.EOF is the
// end.
func (a *attempt) read(c *conn, p []byte) (int, error) {
	taken := 0
	if c.taken {
		p[0], c.taken, taken = c.first[0], false, 1
	}
	a.p, a.call = p[taken:], syscall.Read
	err := c.raw.Read(a.once)
	if err == nil && a.err == nil && a.n == 0 {
		err = io.EOF
	}
	n, err := a.result(err)
	if taken > 0 {
		return taken + n, nil // an error comes again
	}
	return n, err
}

func (a *attempt) result(err error) (int, error) {
	a.p = nil
	switch {
	case err != nil:
		return 0, err
	case a.err == syscall.EAGAIN:
		return 0, nil
	case a.err != nil:
		return 0, a.err
	}
	return a.n, nil
}

// readable is the callback of a goroutine that waits for input without a
// buffer. The poller tells of a change only, and what came before the wait
// began is no change: so the first call has to try, by reading one byte.
func (c *conn) readable(fd uintptr) bool {
	if c.waiting {
		return true
	}
	c.waiting = true
	n, err := uninterrupted(syscall.Read, fd, c.first[:])
	c.taken = n == 1
	return err != syscall.EAGAIN
}

// tryable returns the raw connection of nc if reads and writes on it can be
// tried.
func tryable(nc net.Conn) syscall.RawConn {
	switch nc := nc.(type) {
	case *net.TCPConn:
		raw, err := nc.SyscallConn()
		if err != nil {
			return nil
		}
		return raw
	case *net.UnixConn:
		raw, err := nc.SyscallConn()
		if err != nil {
			return nil
		}
		return raw
	}
	return nil
}
