//go:build unix && !linux

package netpoll

import (
	"errors"
	"net"
	"syscall"
)

func readFD(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

func writeFD(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }

// A TLS connection is neither watched nor tried here.

func rawBelowTLS(net.Conn) syscall.RawConn { return nil }

func peekFD(int, []byte) (int, error) { return 0, errors.ErrUnsupported }

func writableFD(int, []byte) (int, error) { return 0, errors.ErrUnsupported }
