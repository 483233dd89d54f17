//go:build linux

// Command floor is what the benchmark compares servers with: the least that a
// server which makes one system call for each connection can spend. One thread
// moves the same bytes as the others; it takes the load generator's messages to
// be well formed and masked with zeros, knows no namespaces, checks nothing, and
// bounds nothing.
//
// Frames are shared between the members of a room. What goes to a connection
// together is gathered into one write; -gather=false writes each frame with a
// system call of its own. Reads and writes do not tell Go's scheduler, which
// would cost more than a short write.
package main

import (
	"flag"
	"log"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:3009", "loopback address to listen on")
	gather := flag.Bool("gather", true, "write frames that are ready together with one system call")
	flag.Parse()
	s, err := listen(*addr, *gather)
	if err != nil {
		log.Fatal("floor: ", err)
	}
	for {
		s.turn()
	}
}

type server struct {
	listener int
	epoll    int
	gather   bool
	conns    map[int32]*conn
	rooms    map[string][]*conn
	unsent   []*conn // connections with frames to write
	ready    []unix.EpollEvent
	in, out  []byte
}

func listen(addr string, gather bool) (*server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		return nil, err
	}
	file.Close()
	l.Close()
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	epoll, err := unix.EpollCreate1(0)
	if err != nil {
		return nil, err
	}
	s := &server{
		listener: fd, epoll: epoll, gather: gather,
		conns: map[int32]*conn{}, rooms: map[string][]*conn{},
		ready: make([]unix.EpollEvent, 1024), in: make([]byte, 1<<20),
	}
	return s, s.watch(fd)
}

func (s *server) watch(fd int) error {
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// turn reads all connections that have input, then writes.
func (s *server) turn() {
	n, err := unix.EpollWait(s.epoll, s.ready, -1)
	if err != nil {
		return // interrupted
	}
	for _, event := range s.ready[:n] {
		if int(event.Fd) == s.listener {
			s.accept()
		} else if c := s.conns[event.Fd]; c != nil {
			s.read(c)
		}
	}
	for _, c := range s.unsent {
		s.write(c)
	}
	s.unsent = s.unsent[:0]
}

func (s *server) accept() {
	for {
		fd, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK)
		if err != nil {
			return
		}
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		s.conns[int32(fd)] = &conn{fd: fd}
		s.watch(fd)
	}
}

func (s *server) read(c *conn) {
	n, err := rawCall(unix.SYS_READ, c.fd, s.in[copy(s.in, c.begun):])
	switch {
	case n > 0:
		c.begun = append(c.begun[:0], s.take(c, s.in[:len(c.begun)+n])...)
	case err != unix.EAGAIN:
		s.end(c)
	}
}

func (s *server) end(c *conn) {
	unix.Close(c.fd)
	delete(s.conns, int32(c.fd))
	for _, room := range c.rooms {
		s.rooms[room] = slices.DeleteFunc(s.rooms[room], func(m *conn) bool { return m == c })
	}
}

func (s *server) send(c *conn, frame []byte) {
	c.frames = append(c.frames, frame)
	switch {
	case !s.gather:
		s.write(c)
	case len(c.frames) == 1:
		s.unsent = append(s.unsent, c)
	}
}

// write writes the frames of a connection, and waits for one that does not
// read: the load generator always does.
func (s *server) write(c *conn) {
	b := c.frames[0]
	if len(c.frames) > 1 {
		s.out = s.out[:0]
		for _, f := range c.frames {
			s.out = append(s.out, f...)
		}
		b = s.out
	}
	clear(c.frames)
	c.frames = c.frames[:0]
	for len(b) > 0 {
		n, err := rawCall(unix.SYS_WRITE, c.fd, b)
		if n <= 0 && err != unix.EAGAIN {
			return
		}
		b = b[max(n, 0):]
	}
}

// rawCall is read(2) or write(2).
func rawCall(trap uintptr, fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
