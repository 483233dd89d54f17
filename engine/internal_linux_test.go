package engine

import (
	"net"
	"testing"
)

func dialed(t *testing.T, ln net.Listener, s *Server) *conn {
	t.Helper()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return newConn(nc, openedBy(s), 0)
}

// Another connection may get the number of one that we have closed before the
// poller hears of that. Both are told of, and none counts for ever.
func TestDescriptorIsUsedAgain(t *testing.T) {
	srv := NewServer(deaf{}, Config{})
	p := &srv.poller
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	first := dialed(t, ln, srv)
	if !p.watch(first) {
		t.Fatal("not watched")
	}
	first.Conn.Close()
	second := dialed(t, ln, srv)
	if !p.watch(second) {
		t.Fatal("not watched")
	}
	if first.fd != second.fd {
		t.Skip("the system gave another number")
	}
	p.closed(first)
	for first.isWatched() { // until a worker has found its end
	}
	if !second.isWatched() || p.conns[second.fd] != second {
		t.Error("the second is not watched any more")
	}
	second.hangUp(nil)
	for second.isWatched() {
	}
	srv.retire()
	if p.file != nil {
		t.Error("the poller stays")
	}
}

func (c *conn) isWatched() bool {
	c.session.server.poller.mu.Lock()
	defer c.session.server.poller.mu.Unlock()
	return c.watched
}

// A connection that cannot be watched is as if it had not been tried.
func TestConnectionThatCannotBeWatchedDoesNotCount(t *testing.T) {
	srv := NewServer(deaf{}, Config{})
	p := &srv.poller
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := dialed(t, ln, srv)
	defer c.Conn.Close()
	p.openLocked()
	epoll := p.epoll
	p.epoll = -1
	if p.watch(c) {
		t.Fatal("watched")
	}
	p.epoll = epoll
	if p.active != 0 || c.isWatched() {
		t.Error("it counts")
	}
	srv.retire()
}

// A connection that arrives when the server has closed finds no poller, and
// makes none that would stay for ever.
func TestWatchAfterClose(t *testing.T) {
	srv := NewServer(deaf{}, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := dialed(t, ln, srv)
	srv.retire()
	c.Conn.Close()
	if srv.poller.watch(c) {
		t.Error("watched")
	}
	if srv.poller.file != nil {
		t.Error("there is a poller")
	}
}
