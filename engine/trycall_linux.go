package engine

import (
	"syscall"
	"unsafe"
)

// The system calls of a try never wait, so the runtime need not hear of them.
// If it does, it wakes its monitor, which then looks every 20 µs for calls
// that take long, and takes the processor from those that do; a write on the
// loopback, in which the kernel does the receiver's work as well, is one.

func tryRead(fd int, p []byte) (int, error) { return tried(syscall.SYS_READ, fd, p) }

func tryWrite(fd int, p []byte) (int, error) { return tried(syscall.SYS_WRITE, fd, p) }

func tried(call uintptr, fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
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
