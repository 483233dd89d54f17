//go:build !unix

package engine

import (
	"errors"
	"net"
	"syscall"
)

// Where system calls on sockets are not those of Unix, every connection has a
// goroutine that reads, and one that writes while there is something to.
type attempt struct{}

func (a *attempt) init() {}

func (a *attempt) write(*conn, []byte) (int, error) { return 0, errors.ErrUnsupported }

func (a *attempt) read(*conn, []byte) (int, error) { return 0, errors.ErrUnsupported }

func tryable(net.Conn) syscall.RawConn { return nil }
