package netpoll

import (
	"os"
	"sync"
	"syscall"
)

const (
	pollEvents = 256 // taken from the kernel at once

	// Edge triggered: there is one event each time that input arrives, and to wait
	// for more costs no system call.
	pollEdge  = 1 << 31 // EPOLLET, which package syscall has negative on some systems
	pollInput = syscall.EPOLLIN | syscall.EPOLLRDHUP | pollEdge
	pollEnd   = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
)

// A Poller waits for input on all its sockets with one goroutine: an idle
// connection has none, and no stack. It is an epoll instance of our own, which
// itself is waited for in the runtime's; the runtime's tells only goroutines. Its
// methods are safe for concurrent use.
type Poller struct {
	start func(run func())

	mu      sync.Mutex
	file    *os.File // the epoll instance; nil until the first source
	epoll   int      // its descriptor
	sources []Source // by descriptor
	active  int      // how many are watched
	last    bool     // no more will come
}

// Init makes p ready to use. start must begin a goroutine that calls run, again if
// that panics, until run returns.
func (p *Poller) Init(start func(run func())) { p.start = start }

// Watch calls Ready of s whenever there is input and no reader. It is false if that
// cannot be done.
func (p *Poller) Watch(s Source) bool {
	socket := s.Polled()
	if socket.raw == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil && (p.last || !p.openLocked()) {
		return false
	}
	// It fails on a connection that is closed already.
	_ = socket.raw.Control(func(fd uintptr) { p.addLocked(s, socket, int(fd)) })
	return socket.watched
}

func (p *Poller) addLocked(s Source, socket *Socket, fd int) {
	event := syscall.EpollEvent{Events: pollInput, Fd: int32(fd)}
	if syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, fd, &event) != nil {
		return
	}
	for len(p.sources) <= fd {
		p.sources = append(p.sources, nil)
	}
	p.sources[fd] = s
	p.active++
	socket.fd, socket.watched = int32(fd), true
}

// Remove forgets s, which is watched and is not read any more. The kernel forgets
// it when it is closed; events until then are ignored.
func (p *Poller) Remove(s Source) {
	socket := s.Polled()
	p.mu.Lock()
	if p.sources[socket.fd] == s { // else the number is used again
		p.sources[socket.fd] = nil
	}
	p.active--
	socket.watched = false
	unused := p.takeUnusedLocked()
	p.mu.Unlock()
	_ = unused.Close()
}

// Retire says that no more sources will come: the goroutine ends with the last of
// those that there are.
func (p *Poller) Retire() {
	p.mu.Lock()
	p.last = true
	unused := p.takeUnusedLocked()
	p.mu.Unlock()
	_ = unused.Close()
}

// Closed lets the reader of s find that we have closed its connection, which the
// kernel does not tell.
func (p *Poller) Closed(s Source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Polled().watched { // not "is in sources": its number may be another's by now
		p.wakeLocked(s)
	}
}

func (p *Poller) wakeLocked(s Source) {
	if s.Polled().wake() {
		s.Ready()
	}
}

func (p *Poller) openLocked() bool {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	// What does not block is waited for by the runtime's poller.
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd)
		return false
	}
	file := os.NewFile(uintptr(fd), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return false
	}
	p.file, p.epoll = file, fd
	p.start(func() { p.run(raw) })
	return true
}

// takeUnusedLocked returns the epoll instance if it is not needed any more, else
// nil. To close it ends run. It must be done without the lock: Close waits
// for run, which may be waiting for the lock in dispatch. (Closing nil is an
// error, and does nothing.)
func (p *Poller) takeUnusedLocked() *os.File {
	if p.active > 0 || !p.last || p.file == nil {
		return nil
	}
	unused := p.file
	p.file, p.sources = nil, nil
	return unused
}

// run finds readers for sockets with input until the epoll instance is closed. It never leaves Read's callback with success: the next call would
// have to ask the kernel once more before it may wait.
func (p *Poller) run(epoll syscall.RawConn) {
	events := make([]syscall.EpollEvent, pollEvents)
	_ = epoll.Read(func(fd uintptr) (done bool) {
		for {
			n, err := arrivals(fd, events)
			if err != nil {
				return true
			}
			p.dispatch(events[:n])
			if n < len(events) {
				return false
			}
		}
	})
}

// Poll finds readers for sockets that have input by now, and does not wait. Busy
// readers call it: while goroutines are ready to run, and there are enough for all
// cores, the runtime looks at its poller every 10 ms only.
func (p *Poller) Poll() {
	var events [pollEvents / 4]syscall.EpollEvent
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil {
		return
	}
	// An error is what run finds, too.
	if n, err := arrivals(uintptr(p.epoll), events[:]); err == nil {
		p.dispatchLocked(events[:n])
	}
}

func (p *Poller) dispatch(events []syscall.EpollEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dispatchLocked(events)
}

func (p *Poller) dispatchLocked(events []syscall.EpollEvent) {
	for i := range events {
		fd := int(events[i].Fd)
		if fd >= len(p.sources) || p.sources[fd] == nil {
			continue
		}
		s := p.sources[fd]
		if events[i].Events&pollEnd != 0 {
			s.Polled().ended.Store(true)
		}
		p.wakeLocked(s)
	}
}
