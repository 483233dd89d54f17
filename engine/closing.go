package engine

import (
	"math/rand/v2"
	"time"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
	"github.com/caddy-realtime/realtime/internal/guard"
)

const (
	closeTimeout        = 5 * time.Second        // until a close frame must be answered
	shutdownTimeout     = 500 * time.Millisecond // until the same when the server closes
	pollingCloseTimeout = 30 * time.Second       // until a polling client must fetch the close packet
	closePause          = 2 * time.Second        // before CloseSoon closes
	closeJitter         = 3 * time.Second        // by which that may take longer
)

// Close ends the session: what is queued goes out first. Receiver.Closed
// follows on another goroutine. Only the first reason counts.
func (s *Session) Close(reason Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked(reason)
}

func (s *Session) closeLocked(reason Reason) {
	if !s.state.isOpen() {
		return
	}
	code := uint16(ws.CloseNoStatus)
	if reason == ShuttingDown {
		code = ws.CloseGoingAway
	}
	s.endLocked(reason, closing, closeFrames(code, ""))
}

// Reject is Close because of a message that the handler cannot understand.
// The close frame of a WebSocket has code and why, which is ASCII.
func (s *Session) Reject(reason Reason, code uint16, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.isOpen() {
		s.endLocked(reason, closing, closeFrames(code, why))
	}
}

// CloseSoon ends the session with ForcedClose after a pause of 2 to 5 s. It is for
// a passing trouble: a client whose transport has opened forgets how often it has
// tried, and tries again at once. Until then the session works as before and
// counts in all limits; any other end comes first, Server.Close among them. There
// is no pause where a newcomer would get 503, which makes clients wait longer each
// time: the session would only keep others out.
func (s *Session) CloseSoon() {
	full := s.server.memoryPressure() || !s.server.mayOpen(s.server.config.Load().MaxSessions)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state > open:
	case full:
		s.closeLocked(ForcedClose)
	default:
		s.advanceLocked(leaving)
		s.closeDue = s.server.now() + instant(closePause+rand.N(closeJitter))
		s.scheduleLocked()
	}
}

// fail ends the session because of what its client or connection did.
func (s *Session) fail(reason Reason, code uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(reason, code)
}

func (s *Session) failLocked(reason Reason, code uint16) {
	if s.state.isOpen() {
		s.endLocked(reason, dismissed, closeFrames(code, ""))
	}
}

// halfCloseLocked ends a session whose WebSocket sends what cannot be understood
// from here on. The last that it gets is a close frame.
func (s *Session) halfCloseLocked(reason Reason, last *Frames) {
	if !s.state.isOpen() {
		s.advanceLocked(halfClosed)
		return
	}
	s.endLocked(reason, halfClosed, last)
}

// abortLocked ends a session whose WebSocket takes nothing more.
func (s *Session) abortLocked(reason Reason) {
	if !s.state.isOpen() {
		s.advanceLocked(aborted)
		return
	}
	s.endLocked(reason, aborted, nil)
}

// broke ends a session that a panic has left halfway. The wheel may have been
// it: it looks again.
func (s *Session) broke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.polls() {
		s.closeLocked(TransportError)
	} else {
		s.halfCloseLocked(TransportError, emptyClose) // what was being read is lost
	}
	s.scheduleLocked()
}

// endLocked is the one place where a session stops being open; it must be open.
// last, if not nil, is the last frame that a WebSocket gets.
// The goroutine between enter and leave calls Receiver.Closed; if there is none, a
// new one does.
func (s *Session) endLocked(reason Reason, end state, last *Frames) {
	s.advanceLocked(end)
	s.reason = reason
	if s.delay != nil {
		close(s.delay.ended)
		s.delay = nil
	}
	s.transport.resume(never)
	s.transport.end(last)
	if !s.entered {
		go s.conclude()
	}
}

// conclude ends a session that was closed from outside.
func (s *Session) conclude() { s.server.insist("conclude", s.notifyAlone) }

func (s *Session) notifyAlone() {
	b := NewBatch()
	defer b.Flush()
	s.input.Lock()
	defer s.input.Unlock()
	s.notifyClosed(b)
}

// notifyClosed does what follows the end of a session, with input held: it calls
// Receiver.Closed and has the connection closed. Server.Close waits for it.
func (s *Session) notifyClosed(b *Batch) {
	if s.notified {
		return
	}
	s.notified = true
	defer s.server.open.Done()
	defer s.callClosed(b)
	lingers := s.beginClose(b)
	s.server.ended(s)
	if !lingers {
		s.hangUp()
	}
}

// beginClose sends what the client still gets, and reports whether there is
// something to wait for before the connection is closed.
func (s *Session) beginClose(b *Batch) (lingers bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropProbeLocked(emptyClose)
	s.flushWithLocked(b)
	wait := s.transport.lingers()
	if wait > 0 {
		s.lingerDue = s.server.now() + instant(wait)
		s.scheduleLocked()
	}
	return wait > 0
}

func (s *Session) callClosed(b *Batch) {
	defer s.server.caught("closed", nil)
	guard.Fault("closed")
	s.receiver.Closed(b, s.reason)
}

// lingerUntil shortens the wait for a client that was sent the end. A polling
// client is not waited for; a WebSocket that comes later is refused by attach.
func (s *Session) lingerUntil(t instant) {
	s.mu.Lock()
	polls := s.polls()
	switch {
	case polls:
		s.finishLocked()
	case s.lingerDue == 0 || s.lingerDue > t:
		s.lingerDue = t
		s.scheduleLocked()
	}
	s.mu.Unlock()
	if polls {
		s.server.forget(s)
	}
}

// hangUp ends a session whose client has got the end, or had time for it.
func (s *Session) hangUp() { s.server.insist("hang up", s.closeTransport) }

func (s *Session) closeTransport() {
	defer s.finish()
	s.lastTransport().close()
}

// lastTransport returns the transport, which does not change any more.
func (s *Session) lastTransport() transport {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advanceLocked(aborted)
	return s.transport
}

// finish forgets a session whose connection is gone.
func (s *Session) finish() {
	defer s.server.forget(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishLocked()
}

func (s *Session) finishLocked() {
	s.advanceLocked(closed)
	s.transport.resume(never)
	s.unholdLocked()
	s.outbox, s.head, s.offset, s.queued = nil, 0, 0, 0
}
