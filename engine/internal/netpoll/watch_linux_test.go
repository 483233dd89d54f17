package netpoll

import (
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// source counts what comes and discards it.
type source struct {
	Socket
	poller *Poller
	got    []byte
	done   chan struct{} // closed at the end
}

func (s *source) Polled() *Socket { return &s.Socket }

func (s *source) Ready() { go s.read() }

func (s *source) read() {
	var try Try
	try.Init()
	buf := make([]byte, 1000)
	for {
		n, err := try.Read(&s.Socket, buf)
		s.got = append(s.got, buf[:n]...)
		switch {
		case err != nil:
			s.poller.Remove(s)
			close(s.done)
			return
		case n == 0 && s.Park():
			return
		}
	}
}

// fixture is a poller and a place to connect to.
type fixture struct {
	t  *testing.T
	p  Poller
	ln net.Listener
	wg sync.WaitGroup // the poller's goroutine
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t}
	f.p.Init(func(run func()) { f.wg.Go(run) })
	var err error
	if f.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.ln.Close() })
	return f
}

// connect returns a source and its peer.
func (f *fixture) connect() (s *source, peer net.Conn) {
	f.t.Helper()
	nc, err := net.Dial("tcp", f.ln.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	if peer, err = f.ln.Accept(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		nc.Close()
		peer.Close()
	})
	s = &source{poller: &f.p, done: make(chan struct{})}
	s.Init(nc)
	return s, peer
}

func (f *fixture) watch(s *source) {
	f.t.Helper()
	if !f.p.Watch(s) {
		f.t.Fatal("not watched")
	}
}

func (f *fixture) isWatched(s *source) bool {
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	return s.watched
}

func TestAllInputIsRead(t *testing.T) {
	f := newFixture(t)
	var sources []*source
	var peers sync.WaitGroup
	for range 20 {
		s, peer := f.connect()
		sources = append(sources, s)
		peers.Go(func() {
			for range 100 {
				io.WriteString(peer, "input")
				runtime.Gosched()
			}
			peer.Close()
		})
	}
	for _, s := range sources { // some input has come already
		f.watch(s)
	}
	peers.Wait()
	for _, s := range sources {
		<-s.done
		if string(s.got) != strings.Repeat("input", 100) {
			t.Errorf("got %d bytes", len(s.got))
		}
	}
	f.p.Retire()
	f.wg.Wait() // the poller goes
}

// Another connection may get the number of one that we have closed before the
// poller hears of that. Both are read, and neither counts for ever.
func TestDescriptorIsUsedAgain(t *testing.T) {
	f := newFixture(t)
	first, firstPeer := f.connect()
	f.watch(first)
	first.Conn.Close()
	second, peer := f.connect()
	if f.watch(second); first.fd != second.fd {
		t.Skip("the system gave another number")
	}
	firstPeer.Close()
	f.p.Closed(first)
	<-first.done
	f.p.mu.Lock()
	watched := f.p.sources[second.fd]
	f.p.mu.Unlock()
	if watched != Source(second) || !f.isWatched(second) {
		t.Error("the second is not watched any more")
	}
	peer.Close()
	<-second.done
	f.p.Retire()
	f.wg.Wait()
}

func TestClosedSocketIsRead(t *testing.T) {
	f := newFixture(t)
	s, _ := f.connect()
	f.watch(s)
	s.Conn.Close()
	f.p.Closed(s)
	<-s.done
	if f.p.Closed(s); f.isWatched(s) {
		t.Error("it is still watched")
	}
	f.p.Retire()
	f.wg.Wait()
}

// A socket that cannot be watched is as if it had not been tried.
func TestSocketThatCannotBeWatchedDoesNotCount(t *testing.T) {
	f := newFixture(t)
	s, _ := f.connect()
	f.p.mu.Lock()
	f.p.openLocked()
	epoll := f.p.epoll
	f.p.epoll = -1
	f.p.mu.Unlock()
	if f.p.Watch(s) {
		t.Fatal("watched")
	}
	f.p.mu.Lock()
	f.p.epoll = epoll
	f.p.mu.Unlock()
	if f.p.active != 0 || f.isWatched(s) {
		t.Error("it counts")
	}
	f.p.Retire()
	f.wg.Wait()
}

// A socket that comes after Retire finds no poller, and makes none that would stay
// for ever.
func TestRetiredPollerWatchesNothing(t *testing.T) {
	f := newFixture(t)
	s, _ := f.connect()
	f.p.Retire()
	if f.p.Watch(s) {
		t.Error("watched")
	}
	f.wg.Wait()
}

func TestPollFindsInputItself(t *testing.T) {
	f := newFixture(t)
	f.p.Init(func(run func()) { f.wg.Go(func() {}) }) // nobody waits
	f.p.Poll()                                        // there is nothing yet
	s, peer := f.connect()
	f.watch(s)
	peer.Close()
	for ended := false; !ended; {
		f.p.Poll()
		select {
		case <-s.done:
			ended = true
		default:
		}
	}
	f.p.Retire()
}
