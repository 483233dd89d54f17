package engine

import (
	"runtime"
	"sync"
	"time"

	"github.com/caddy-realtime/realtime/internal/guard"
)

// A worker's turn ends, and it writes, after turnSize connections or turnTime.
const (
	turnSize = 64
	turnTime = instant(time.Millisecond)
)

// A client for whose messages rules took more than heavyWork lately, less what
// its rate has given back, is served by workers of its kind: those of the others
// are not kept waiting. What takes longer than Stint lets others run in between.
const (
	heavyWork = time.Millisecond
	Stint     = 100 * time.Microsecond
)

// workers read the connections that have input. They are few, so that their
// grown stacks and their buffers serve all clients, and stay until the server
// is closed.
type workers struct {
	server *Server
	heavy  bool // for clients whose messages take long

	mu      sync.Mutex
	more    sync.Cond
	queue   []*conn // from next; a connection is in it once at most
	next    int
	running int
	idle    int
	last    bool // no more will come
}

func (w *workers) init(s *Server, heavy bool) {
	w.server, w.heavy = s, heavy
	w.more.L = &w.mu
}

// most is how many there may be. Those for what takes long leave a core to the
// others.
func (w *workers) most() int {
	n := runtime.GOMAXPROCS(0)
	if w.heavy {
		return max(n-1, 1)
	}
	return max(n, 4)
}

// ready hands over a connection that has input.
func (s *Server) ready(c *conn) {
	if c.session.heavy() {
		s.heavy.ready(c)
	} else {
		s.workers.ready(c)
	}
}

// ready hands over a connection that has input.
func (w *workers) ready(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, c)
	switch {
	case w.idle > 0:
		w.idle--
		w.more.Signal()
	case w.running < w.most():
		w.running++
		go w.server.always("worker", w.work)
	}
}

// retire lets the workers go when there is nothing more to do. The server has
// no sessions anymore, and gets none.
func (w *workers) retire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last, w.idle = true, 0
	w.more.Broadcast()
}

// take returns a connection with input, nil if there is none. With wait it is
// nil only when the worker has to go: it does not count any more, so that who
// has input next finds another.
func (w *workers) take(wait bool) *conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.next == len(w.queue) {
		if !wait {
			return nil
		}
		if w.last {
			w.running--
			return nil
		}
		w.idle++
		w.more.Wait()
	}
	c := w.queue[w.next]
	w.next++
	if w.next > len(w.queue)/2 { // under load it is never empty
		n := copy(w.queue, w.queue[w.next:])
		clear(w.queue[n:])
		w.queue, w.next = w.queue[:n], 0
	}
	return c
}

func (w *workers) work() {
	b := NewBatch()
	defer b.Flush()
	if b.slab == nil {
		b.slab = make([]byte, readSize)
	}
	for {
		c := w.take(true)
		if c == nil {
			return
		}
		w.turn(b, c)
		if w.pending() {
			w.server.poller.Poll()
		}
	}
}

// pending reports whether connections wait for a worker.
func (w *workers) pending() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next < len(w.queue)
}

// turn serves c and whatever else is ready or becomes so meanwhile, and writes
// what came of it together: input that arrives together is answered together.
func (w *workers) turn(b *Batch, c *conn) {
	defer b.write()
	began := w.server.now()
	yielded := false
	for range turnSize {
		b.inputs++
		w.serve(b, c)
		if b.now > began+turnTime {
			return
		}
		c = w.take(false)
		if c == nil && !yielded {
			yielded = true
			runtime.Gosched() // connections that were woken with this one get here
			c = w.take(false)
		}
		if c == nil {
			return
		}
	}
	w.server.ready(c)
}

// yield lets workers serve connections that have input, if the caller's turn is
// over, which began then; 0: it begins now. It returns when the present turn began.
func (s *Server) yield(began, turn instant) instant {
	now := s.now()
	if began == 0 {
		return now
	}
	if now < began+turn {
		return began
	}
	s.poller.Poll()
	runtime.Gosched()
	return s.now()
}

// Yield lets others run for a moment. A Receiver calls it after each Stint of
// work on one message, without a lock. What was queued goes out first. b may be
// nil.
func (s *Session) Yield(b *Batch) {
	if b != nil {
		b.write()
	}
	// One at a time waits to run on; the others wait for that one, so that who
	// has input by now waits for two stints at most, however many are at it.
	s.server.stints.Lock()
	defer s.server.stints.Unlock()
	s.server.poller.Poll()
	runtime.Gosched()
}

// serve gives c one turn.
func (w *workers) serve(b *Batch, c *conn) {
	switch w.read(b, c) {
	case toEnd:
		w.server.poller.Remove(c)
	case toRead:
		w.server.ready(c)
	case toWait:
		if !c.Park() {
			w.server.ready(c)
		}
	}
}

// read reads from c once; what a panic leaves is not read any more.
func (w *workers) read(b *Batch, c *conn) (next outcome) {
	next = toEnd
	defer w.server.caught("connection", c.session)
	guard.Fault("connection")
	return c.serve(b)
}
