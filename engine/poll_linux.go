package engine

import (
	"os"
	"sync"
	"syscall"
)

const (
	pollEvents = 256 // taken from the kernel at once

	// Edge triggered: a connection is told of once for each time that input
	// arrives, and to wait for more costs no system call.
	pollEdge  = 1 << 31 // EPOLLET, which package syscall has negative on some systems
	pollInput = syscall.EPOLLIN | syscall.EPOLLRDHUP | pollEdge
	pollEnd   = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
)

// A poller waits for input on all TCP connections with one goroutine: an idle
// connection has none, and no stack. It is an epoll instance of our own, which
// itself is waited for in the runtime's; the runtime's tells only goroutines.
type poller struct {
	server *Server

	mu     sync.Mutex
	file   *os.File // the epoll instance; nil until the first connection
	epoll  int      // its descriptor
	conns  []*conn  // by descriptor
	active int      // how many there are
	last   bool     // no more will come
}

func (p *poller) init(s *Server) { p.server = s }

// watch has c read whenever it has input. It is false if that cannot be done.
func (p *poller) watch(c *conn) bool {
	if c.secure {
		c.reading.Store(served) // by startSecure
	}
	if c.raw == nil || !p.add(c) {
		return false
	}
	if c.secure {
		go c.startSecure()
	}
	return true
}

func (p *poller) add(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil && (p.last || !p.openLocked()) {
		return false
	}
	// It fails on a connection that is closed already.
	_ = c.raw.Control(func(fd uintptr) { p.addLocked(c, int(fd)) })
	return c.watched
}

func (p *poller) addLocked(c *conn, fd int) {
	event := syscall.EpollEvent{Events: pollInput, Fd: int32(fd)}
	if syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, fd, &event) != nil {
		return
	}
	for len(p.conns) <= fd {
		p.conns = append(p.conns, nil)
	}
	p.conns[fd] = c
	p.active++
	c.fd, c.watched = int32(fd), true
}

// remove forgets c, which is not to be read any more. The kernel forgets it
// when it is closed; what it tells until then means nothing.
func (p *poller) remove(c *conn) {
	p.mu.Lock()
	if p.conns[c.fd] == c { // else the number is used again
		p.conns[c.fd] = nil
	}
	p.active--
	c.watched = false
	unused := p.takeUnusedLocked()
	p.mu.Unlock()
	_ = unused.Close()
}

// retire lets the poller go with the last of its connections.
func (p *poller) retire() {
	p.mu.Lock()
	p.last = true
	unused := p.takeUnusedLocked()
	p.mu.Unlock()
	_ = unused.Close()
}

// closed lets whoever reads c find that we have closed it, which the kernel
// does not tell.
func (p *poller) closed(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.watched { // not "is in conns": its number may be another's by now
		p.wakeLocked(c)
	}
}

func (p *poller) wakeLocked(c *conn) {
	switch {
	case !c.wake():
	case c.secure:
		go c.readArrived() // workers must not wait for the rest of a record
	default:
		p.server.ready(c)
	}
}

// resume has c, which rests, read again.
func (p *poller) resume(c *conn) {
	if c.secure {
		go c.readRested()
	} else {
		p.server.ready(c)
	}
}

func (p *poller) openLocked() bool {
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
	go p.server.always("poller", func() { p.run(raw) })
	return true
}

// takeUnusedLocked returns the epoll instance if nobody will need it any more,
// else nil. To close it ends run. It must be done without the lock: Close waits
// for run, which may be waiting for the lock in dispatch. (Closing nil is an
// error, and does nothing.)
func (p *poller) takeUnusedLocked() *os.File {
	if p.active > 0 || !p.last || p.file == nil {
		return nil
	}
	unused := p.file
	p.file, p.conns = nil, nil
	return unused
}

// run hands connections with input to the workers until the epoll instance is
// closed. It never leaves Read's callback with success: the next call would
// have to ask the kernel once more before it may wait.
func (p *poller) run(epoll syscall.RawConn) {
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

// look hands over connections that have input by now, and does not wait. Busy
// workers call it: while goroutines are ready to run, and there are enough for
// all cores, the runtime looks at its poller every 10 ms only.
func (p *poller) look() {
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

func (p *poller) dispatch(events []syscall.EpollEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dispatchLocked(events)
}

func (p *poller) dispatchLocked(events []syscall.EpollEvent) {
	for i := range events {
		fd := int(events[i].Fd)
		if fd >= len(p.conns) || p.conns[fd] == nil {
			continue
		}
		c := p.conns[fd]
		if events[i].Events&pollEnd != 0 {
			c.ending.Store(true)
		}
		p.wakeLocked(c)
	}
}
