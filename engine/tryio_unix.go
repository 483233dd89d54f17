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
	if c.secure {
		return a.writeSecure(c, p)
	}
	a.p, a.call = p, tryWrite
	return a.result(c.raw.Write(a.once))
}

// read reads what is there. Nothing, and no error: nothing yet. io.EOF is the
// end.
func (a *attempt) read(c *conn, p []byte) (int, error) {
	a.p, a.call = p, tryRead
	err := c.raw.Read(a.once)
	if err == nil && a.err == nil && a.n == 0 {
		err = io.EOF
	}
	return a.result(err)
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
