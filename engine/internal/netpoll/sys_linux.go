package netpoll

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of a try never wait, so the runtime need not hear of them.
// If it does, it wakes its monitor, which then looks every 20 µs for calls
// that take long, and takes the processor from those that do; a write on the
// loopback, in which the kernel does the receiver's work as well, is one.

func readFD(fd int, p []byte) (int, error) { return rawCall(syscall.SYS_READ, fd, p) }

func writeFD(fd int, p []byte) (int, error) { return rawCall(syscall.SYS_WRITE, fd, p) }

func rawCall(call uintptr, fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// rawBelowTLS returns the socket below a TLS connection, nil if there is none.
func rawBelowTLS(nc net.Conn) syscall.RawConn {
	if c, ok := nc.(*tls.Conn); ok {
		return rawConn(c.NetConn())
	}
	return nil
}

func peekFD(fd int, _ []byte) (int, error) {
	var one [1]byte
	n, _, err := syscall.Recvfrom(fd, one[:], syscall.MSG_PEEK)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

func writableFD(fd int, _ []byte) (int, error) {
	return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
}

// arrivals asks an epoll instance for what has come so far.
func arrivals(epoll uintptr, events []syscall.EpollEvent) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, epoll,
			uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
