//go:build !unix

package netpoll

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// Where system calls on sockets are not those of Unix, every connection has a
// goroutine that reads, and one that writes while there is something to write.

// A Try would do system calls that do not wait.
type Try struct{}

// Init makes t ready to use.
func (*Try) Init() {}

// Read fails.
func (*Try) Read(*Socket, []byte) (int, error) { return 0, errors.ErrUnsupported }

// Write fails.
func (*Try) Write(*Socket, []byte, time.Duration) (int, error) { return 0, errors.ErrUnsupported }

// Arrived is false.
func (*Try) Arrived(*Socket) bool { return false }

func rawConn(net.Conn) syscall.RawConn { return nil }

func rawBelowTLS(net.Conn) syscall.RawConn { return nil }
