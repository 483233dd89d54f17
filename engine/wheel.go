package engine

import (
	"sync"
	"time"

	"github.com/caddy-realtime/realtime/internal/guard"
)

const slots = 512

// A wheel checks sessions when something of them is due: one goroutine and
// one timer for all of them, two pointers for each. It stands still while
// there are no sessions.
type wheel struct {
	server *Server

	mu      sync.Mutex
	tick    time.Duration
	rings   [slots]timer // heads of the rings of sessions
	at      int64        // ticks that are done
	size    int
	running bool          // there is a goroutine
	still   bool          // it waits without a timer
	last    bool          // no more will come
	changed chan struct{} // tells the goroutine to look again
}

// timer is a session's place in the wheel.
type timer struct {
	session    *Session
	prev, next *timer
	tick       int64 // when it is looked at
	removed    bool
}

func (w *wheel) init(s *Server) {
	w.server = s
	w.changed = make(chan struct{}, 1)
	for i := range w.rings {
		w.rings[i].prev, w.rings[i].next = &w.rings[i], &w.rings[i]
	}
}

// schedule has s checked at t at the latest. It only ever brings a check
// forward: one that comes too early costs little and schedules the next.
func (w *wheel) schedule(s *Session, t instant) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &s.timer
	if e.removed {
		return
	}
	if w.size == 0 {
		w.tick = s.config.tick()
		w.at = int64(w.server.now()) / int64(w.tick)
	} else if tick := s.config.tick(); tick < w.tick {
		w.refine(tick)
	}
	// Up, so that it is due when it is looked at.
	tick := max(int64(t)/int64(w.tick)+1, w.at+1)
	if e.session == nil {
		e.session = s
		w.size++
	}
	if e.next != nil {
		if e.tick <= tick {
			return
		}
		e.unlink()
	}
	w.link(e, tick)
	if !w.running {
		w.running = true
		go w.server.always("wheel", w.turn)
	} else if w.still {
		w.wake()
	}
}

// link places e; what lies beyond one turn of the wheel is looked at sooner.
func (w *wheel) link(e *timer, tick int64) {
	e.tick = min(tick, w.at+slots-1)
	head := &w.rings[e.tick%slots]
	e.prev, e.next = head.prev, head
	e.prev.next, e.next.prev = e, e
}

func (e *timer) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}

// refine makes the wheel turn in smaller steps, for a session that has
// shorter waits than all before.
func (w *wheel) refine(tick time.Duration) {
	var all []*timer
	for i := range w.rings {
		for head := &w.rings[i]; head.next != head; {
			e := head.next
			e.unlink()
			all = append(all, e)
		}
	}
	old := int64(w.tick)
	w.tick = tick
	w.at = int64(w.server.now()) / int64(tick)
	for _, e := range all {
		w.link(e, max(e.tick*old/int64(tick), w.at+1))
	}
}

// remove forgets s for good.
func (w *wheel) remove(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &s.timer
	if e.next != nil {
		e.unlink()
	}
	if e.session != nil && !e.removed {
		w.size--
	}
	e.removed = true
}

// retire lets the goroutine go.
func (w *wheel) retire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = true
	w.wake()
}

func (w *wheel) wake() {
	select {
	case w.changed <- struct{}{}:
	default: // told already
	}
}

func (w *wheel) turn() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var due []*Session
	for {
		wait, goOn := w.due(&due)
		if !goOn {
			return
		}
		if len(due) > 0 {
			w.check(due)
			clear(due)
			due = due[:0]
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-w.changed:
		}
	}
}

// due takes the sessions out whose time has come, or says how long until the
// next tick. It is false when the goroutine is to go.
func (w *wheel) due(out *[]*Session) (wait time.Duration, goOn bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.still = w.size == 0; w.still {
		return time.Hour, !w.last
	}
	now := w.server.now()
	for w.at < int64(now)/int64(w.tick) {
		w.at++
		for head := &w.rings[w.at%slots]; head.next != head; {
			e := head.next
			e.unlink()
			*out = append(*out, e.session)
		}
	}
	return time.Duration((w.at+1)*int64(w.tick) - int64(now)), true
}

func (w *wheel) check(due []*Session) {
	b := NewBatch()
	defer b.Flush()
	for _, s := range due {
		w.checkOne(b, s)
	}
}

// checkOne keeps a panic from costing others their checks.
func (w *wheel) checkOne(b *Batch, s *Session) {
	defer w.server.caught("check", s)
	guard.Fault("check")
	s.check(b)
	b.flushIfLarge()
}
