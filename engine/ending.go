package engine

import (
	"math/rand/v2"
	"time"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
	"github.com/caddy-realtime/realtime/internal/guard"
)

const (
	closeTimeout        = 5 * time.Second        // until a close frame must be answered
	lastWords           = 500 * time.Millisecond // until the same when the server closes
	pollingCloseTimeout = 30 * time.Second       // until a polling client must fetch its good-bye
	closePause          = 2 * time.Second        // before CloseSoon closes
	closeJitter         = 3 * time.Second        // by which that may take longer
)

// ending is what a client still gets of a session that is not open any more.
// The end is graceful until a polling client has heard of it, then curt. It
// never becomes kinder; what happens to the connection meanwhile may make it
// harsher.
type ending uint8

const (
	// graceful: a WebSocket gets what is queued and a close frame, and has
	// closeTimeout to answer. A polling client has pollingCloseTimeout to
	// fetch what is queued and the good-bye. By closeLocked.
	graceful ending = iota
	// curt is the same for a WebSocket. A polling client gets nothing more,
	// but what its pending GET takes along. By failLocked.
	curt
	// halfClosed is for a WebSocket whose answer would not be understood: after
	// our close frame comes the end of our side. By deafenLocked.
	halfClosed
	// cut: nothing more goes out, a WebSocket is closed without a word. By
	// cutLocked.
	cut
)

// Close ends the session: what is queued goes out first. Receiver.Closed
// follows on another goroutine. Only the first reason counts.
func (s *Session) Close(reason Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked(reason)
}

func (s *Session) closeLocked(reason Reason) {
	if s.state != open {
		return
	}
	code := uint16(ws.CloseNoStatus)
	if reason == ShuttingDown {
		code = ws.CloseGoingAway
	}
	s.sayLocked(closeFrames(code, ""))
	s.endLocked(reason, graceful)
}

// Reject is Close because of a message that the handler cannot understand.
// The close frame of a WebSocket has code and why, which is ASCII.
func (s *Session) Reject(reason Reason, code uint16, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open {
		s.sayLocked(closeFrames(code, why))
		s.endLocked(reason, graceful)
	}
}

// CloseSoon ends the session with ForcedClose after a pause of 2 to 5 s. It is for
// a passing trouble: a client whose transport has opened forgets how often it has
// tried, and tries again at once. Until then the session works as before and
// counts in all limits; any other end comes first, Server.Close among them. There
// is no pause where a newcomer would get 503, which makes clients wait longer each
// time: the session would only keep others out.
func (s *Session) CloseSoon() {
	full := s.server.tight() || !s.server.mayOpen(s.server.config.Load().MaxSessions)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state != open || s.leaving:
	case full:
		s.closeLocked(ForcedClose)
	default:
		s.leaving = true
		s.closeDue = s.server.now() + instant(closePause+rand.N(closeJitter))
		s.scheduleLocked()
	}
}

// Leaving reports whether CloseSoon was called, or the session has ended.
func (s *Session) Leaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving || s.state != open
}

// fail ends the session because of what its client or connection did.
func (s *Session) fail(reason Reason, code uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(reason, code)
}

func (s *Session) failLocked(reason Reason, code uint16) {
	if s.state == open {
		s.sayLocked(closeFrames(code, ""))
		s.endLocked(reason, curt)
	}
}

// deafenLocked ends a session whose WebSocket sends what cannot be understood
// from here on. The last that it gets is a close frame.
func (s *Session) deafenLocked(reason Reason, last *Frames) {
	if s.state != open {
		s.ending = max(s.ending, halfClosed)
		return
	}
	s.sayLocked(last)
	s.endLocked(reason, halfClosed)
}

// cutLocked ends a session whose WebSocket takes nothing more.
func (s *Session) cutLocked(reason Reason) {
	if s.state != open {
		s.ending = cut
		return
	}
	s.endLocked(reason, cut)
}

// broke ends a session that a panic has left halfway. The wheel may have been
// it: it looks again.
func (s *Session) broke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ws == nil {
		s.closeLocked(TransportError)
	} else {
		s.deafenLocked(TransportError, emptyClose) // what was being read is lost
	}
	s.scheduleLocked()
}

// sayLocked queues the close frame, the last thing that a WebSocket gets.
func (s *Session) sayLocked(f *Frames) {
	if s.ws != nil {
		s.outbox = append(s.outbox, f)
		s.queued += f.cost()
	}
}

// endLocked is the one place where a session stops being open; it must be.
// Whoever is between enter and leave tells the receiver; if nobody is, a
// goroutine does.
func (s *Session) endLocked(reason Reason, how ending) {
	s.state, s.reason, s.ending = closing, reason, how
	if s.delay != nil {
		close(s.delay.ended)
		s.delay = nil
	}
	s.resumeLocked(never)
	s.endPollingLocked()
	if !s.entered {
		go s.conclude()
	}
}

// conclude ends a session that was closed from outside.
func (s *Session) conclude() { s.server.insist("conclude", s.tellAlone) }

func (s *Session) tellAlone() {
	b := NewBatch()
	defer b.Flush()
	s.input.Lock()
	defer s.input.Unlock()
	s.tell(b)
}

// tell does what follows the end of a session, with input held: the receiver
// learns of it and the connection is closed. Server.Close waits for it.
func (s *Session) tell(b *Batch) {
	if s.told {
		return
	}
	s.told = true
	defer s.server.open.Done()
	defer s.tellReceiver(b)
	how, c := s.part(b)
	s.server.ended(s)
	switch {
	case c == nil:
		s.finishUnattached(false)
	case how == cut:
		s.hangUp()
	}
}

// part sees to it that the connection ends: on its own, or in time.
func (s *Session) part(b *Batch) (how ending, c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropProbeLocked(emptyClose)
	s.lingerDue = s.server.now() + instant(closeTimeout)
	if s.ws == nil && s.ending == graceful {
		s.lingerDue = s.server.now() + instant(pollingCloseTimeout)
	}
	s.flushWithLocked(b)
	s.scheduleLocked()
	return s.ending, s.ws
}

func (s *Session) tellReceiver(b *Batch) {
	defer s.server.caught("closed", nil)
	guard.Fault("closed")
	s.receiver.Closed(b, s.reason)
}

// lingerUntil shortens the wait for a peer's last words. A polling client has
// none.
func (s *Session) lingerUntil(t instant) {
	s.mu.Lock()
	if s.lingerDue == 0 || s.lingerDue > t {
		s.lingerDue = t
		s.scheduleLocked()
	}
	s.mu.Unlock()
	s.finishUnattached(true)
}

// hangUp ends a connection whose peer did not.
func (s *Session) hangUp() { s.server.insist("hang up", s.closeConn) }

func (s *Session) closeConn() {
	defer s.finish()
	s.mu.Lock()
	c := s.ws
	s.mu.Unlock()
	if c != nil {
		c.hangUp(nil)
	}
}

// finishUnattached forgets a session that has no connection; not, unless it is
// now, one whose polling client the server said good-bye to and which has not
// heard it yet. A WebSocket that comes later is refused by attach.
func (s *Session) finishUnattached(now bool) {
	s.mu.Lock()
	done := s.ws == nil && (now || s.ending != graceful)
	if done {
		s.finishLocked()
	}
	s.mu.Unlock()
	if done {
		s.server.forget(s)
	}
}

// finish forgets a session whose connection is gone.
func (s *Session) finish() {
	defer s.server.forget(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishLocked()
}

func (s *Session) finishLocked() {
	s.state = gone
	s.resumeLocked(never)
	s.unholdLocked()
	s.outbox, s.head, s.offset, s.queued = nil, 0, 0, 0
}
