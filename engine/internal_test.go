package engine

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/caddy-realtime/realtime/internal/budget"
)

// Races that no test can time from outside are brought about by hand here.

type deaf struct{}

func (deaf) Open(*Session) Receiver { return nobody{} }

func openedBy(s *Server) *Session {
	session := &Session{server: s, config: s.config.Load(), id: newID(), receiver: nobody{}, kind: PlainText}
	session.handshake.Info.Exempt = true
	session.transport = polling{session}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[session.id] = session
	s.live++
	s.open.Add(1)
	s.present.Add(1)
	return session
}

// A session that is closed while its WebSocket arrives either has it, and then
// sees to its end, or refuses it.
func TestClosingSessionTakesOrRefusesItsWebSocket(t *testing.T) {
	srv := NewServer(deaf{}, Config{})
	defer srv.retire()
	for i := range 20_000 {
		s := openedBy(srv)
		s.state, s.notified = closing, true
		client, nc := net.Pipe()
		c := newConn(nc, s, 0)
		b := NewBatch()
		var attached bool
		var both sync.WaitGroup
		both.Go(func() { attached = s.attach(b, c, emptyClose) })
		both.Go(func() {
			if i%2 == 0 {
				s.lingerUntil(srv.now())
			} else {
				s.hangUp()
			}
		})
		both.Wait()
		s.mu.Lock()
		finished := s.state == closed
		s.writer = writing // nothing is to be written here
		s.mu.Unlock()
		// The wheel may have closed it already: its time was over at once.
		if attached && finished && nc.SetDeadline(time.Time{}) == nil {
			t.Fatal("nobody closes the connection")
		}
		b.Flush()
		s.finish()
		client.Close()
		nc.Close()
	}
}

// Input that comes while the last worker goes finds another.
func TestInputWhileWorkersLeave(t *testing.T) {
	srv := NewServer(deaf{}, Config{})
	w := &srv.workers
	w.running = max(runtime.GOMAXPROCS(0), 4)
	w.retire()
	for range w.running {
		if w.take(true) != nil { // nobody is there: it is to leave, and has not yet
			t.Fatal("input from nowhere")
		}
	}
	if w.running != 0 {
		t.Errorf("%d workers count that will not read", w.running)
	}
}

// A POST that was read and waits for its turn is still the only one that there
// may be: the next could overtake it.
func TestPostsKeepOrder(t *testing.T) {
	srv := NewServer(deaf{}, Config{})
	defer srv.retire()
	s := openedBy(srv)
	s.kind = EngineIO
	post := func() int {
		r := httptest.NewRequest("POST", "/?EIO=4&transport=polling&sid="+s.id, strings.NewReader("4x"))
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		return w.Code
	}
	s.input.Lock() // somebody is fed
	var first sync.WaitGroup
	first.Go(func() { post() })
	reading := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.post != nil
	}
	for !reading() {
		runtime.Gosched()
	}
	if code := post(); code != http.StatusBadRequest {
		t.Errorf("the second got %d", code)
	}
	s.input.Unlock()
	first.Wait()
	s.finish()
}

// Workers that never catch up, since there is always more input than they can
// read, keep what waits and not what has waited.
func TestQueueThatIsNeverEmpty(t *testing.T) {
	srv := NewServer(deaf{}, Config{})
	w := &srv.workers
	w.running = max(runtime.GOMAXPROCS(0), 4) // all are busy
	var conns [3]conn
	for i := range conns {
		w.ready(&conns[i])
	}
	for i := range 100_000 {
		c := w.take(false)
		if c != &conns[i%len(conns)] {
			t.Fatal("not in their order")
		}
		w.ready(c)
	}
	if n := cap(w.queue); n > 100 {
		t.Errorf("room for %d connections, of which %d wait", n, len(conns))
	}
}

// A backlog that nobody can write now does not make a batch write after each
// message: that would cost all others in the room what one of them does not
// read.
func TestBacklogDoesNotHurry(t *testing.T) {
	srv := NewServer(deaf{}, Config{})
	large := NewFrames(PlainText, make([]byte, batchBytes), true, nil)
	for w, hurries := range map[writer]bool{idle: true, blocked: false} {
		s := openedBy(srv)
		client, nc := net.Pipe()
		s.transport, s.writer = newConn(nc, s, 0), w
		b := NewBatch()
		s.Send(b, large)
		s.Send(b, large)
		if b.full != hurries {
			t.Errorf("writer %d: the batch is full: %v", w, b.full)
		}
		s.writer = writing // nothing is to be written here
		b.Flush()
		s.finish()
		client.Close()
		nc.Close()
	}
}

// A reload may lift the limit when somebody is about to close sessions for it.
func TestLiftedLimitClosesNothing(t *testing.T) {
	srv := NewServer(deaf{}, Config{})
	s := openedBy(srv)
	s.kind = EngineIO
	b := NewBatch()
	s.Send(b, NewFrames(EngineIO, []byte("unread"), false, nil))
	b.Flush()
	srv.shedLoad()
	if !s.isOpen() {
		t.Error("the session was closed")
	}
	srv.Close()
}

// Nothing is prepared for a log that does not want debug lines.
func TestRefusalThatIsNotLoggedAllocatesNothing(t *testing.T) {
	r := httptest.NewRequest("GET", "/?EIO=4", nil)
	q := &request{config: &Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}, query: r.URL.Query()}
	if n := testing.AllocsPerRun(100, func() { q.logRefusal(limited, budget.ConnectRate.String(), "") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// What every idle session has stays within its size class: the next one would cost
// each of a million sessions 16 to 64 bytes more.
func TestIdleSessionKeepsItsSizeClasses(t *testing.T) {
	if size := unsafe.Sizeof(Session{}); size > 576 {
		t.Errorf("a Session has %d bytes", size)
	}
	if size := unsafe.Sizeof(conn{}); size > 128 {
		t.Errorf("a conn has %d bytes", size)
	}
}
