package engine

import (
	"math/rand/v2"
	"time"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
)

// pingState is whether a session's client answers pings.
type pingState uint8

const (
	pingIdle     pingState = iota // no ping is unanswered
	pingAwaiting                  // one is. By pingLocked
	pingExtended                  // and the wait for its answer was prolonged, once. By touchLocked
	pingSlowed                    // its answer may follow input that is read later: pings go on. By slowLocked
)

// startClocks sets what is due on a new session. The first ping comes at a
// random moment, so that clients that came together (after a restart) are not
// pinged together from then on.
func (s *Session) startClocks() {
	now := s.server.now()
	interval := int64(s.config.PingInterval)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pingDeadline = now + instant(interval/2+rand.Int64N(interval/2*9/10+1))
	s.scheduleLocked()
}

// touchLocked notes that something came from the client. The first thing that
// comes after a ping prolongs the wait for the pong once: a slow client may
// have had it in the pipe before the ping.
func (s *Session) touchLocked() {
	if s.pingState == pingAwaiting {
		s.pingState = pingExtended
		s.pingDeadline = s.server.now() + instant(s.config.PingTimeout)
	}
}

// slowLocked notes that the client is not read before t: the wait for a pong is
// prolonged, and pings go on meanwhile, since the client leaves without them.
func (s *Session) slowLocked(t instant) {
	if s.pingState != pingIdle {
		s.pingState = pingSlowed
		s.pingDeadline = max(s.pingDeadline, t+instant(s.config.PingTimeout))
	}
}

// pong notes the answer to a ping; the next ping is due an interval from now, or
// sooner if the answer was read so late that the client would leave before. Pongs
// that are unasked, or answer earlier pings, are accepted.
func (s *Session) pong() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unanswered == 1 {
		s.answered = s.pinged
	}
	s.unanswered = max(s.unanswered-1, 0)
	if s.kind == PlainText {
		s.unanswered = 0 // one pong may answer several pings: RFC 6455 section 5.5.3
	}
	now := s.server.now()
	switch s.pingState {
	case pingIdle:
		return
	case pingSlowed:
		now = min(now, s.pinged+instant(s.config.PingTimeout/2))
	}
	s.pingState = pingIdle
	s.pingDeadline = now + instant(s.config.PingInterval)
	s.scheduleLocked()
}

// Received is a time of which the client surely has all that was queued for it
// before: it has answered a ping that was queued then. It is zero if there was
// none.
func (s *Session) Received() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answered == 0 {
		return time.Time{}
	}
	return s.server.start.Add(time.Duration(s.answered))
}

// check does what is due. The wheel calls it, and every request that touches
// the session: a client must not depend on how fine the wheel turns.
func (s *Session) check(b *Batch) {
	now := s.server.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	due := func(t instant) bool { return t > 0 && t <= now }
	if !s.state.isOpen() {
		s.transport.resume(now)
		if s.state.isEnding() && due(s.lingerDue) {
			s.lingerDue = 0
			go s.hangUp()
		}
		s.scheduleLocked()
		return
	}
	s.transport.resume(now)
	if due(s.upgradeDue) {
		s.dropProbeLocked(emptyClose)
	}
	resting := s.restingLocked()
	switch {
	case due(s.closeDue) && (s.state == leaving || !resting):
		s.closeLocked(ForcedClose)
	case due(s.inputDue) && !resting:
		s.halfCloseLocked(TransportError, emptyClose) // an answer would be taken for the rest of a frame
	case s.marked > 0 && due(s.stalled):
		s.abortLocked(SlowConsumer)
	case due(s.pingDeadline) && s.pingState != pingIdle:
		s.failLocked(PingTimeout, ws.CloseNoStatus)
	case due(s.pingDeadline), due(s.nextPingLocked()):
		s.pingLocked(b, now)
	}
	s.scheduleLocked()
}

// nextPingLocked is when a client that is read later gets another ping, although
// it has not answered the last; 0: never.
func (s *Session) nextPingLocked() instant {
	if s.pingState != pingSlowed {
		return 0
	}
	return s.pinged + instant(s.config.PingInterval)
}

// pingLocked queues a ping. The wait for its answer begins at the moment it
// was due, unless we are so late that it would be unfair.
func (s *Session) pingLocked(b *Batch, now instant) {
	if s.pingState == pingIdle {
		s.pingState = pingAwaiting
		s.pingDeadline = max(s.pingDeadline, now-instant(2*s.config.tick())) + instant(s.config.PingTimeout)
	}
	s.pinged = now
	s.unanswered++
	if until := s.transport.resume(0); until > 0 {
		s.slowLocked(until)
	}
	if s.delay != nil {
		s.slowLocked(s.delay.until)
	}
	f := pingPacket
	if s.kind == PlainText {
		f = controlPing
	}
	s.queueLocked(b, f)
}

// scheduleLocked tells the wheel when the session wants to be checked.
func (s *Session) scheduleLocked() {
	next := instant(0)
	earliest := func(t instant) {
		if t > 0 && (next == 0 || t < next) {
			next = t
		}
	}
	if s.state.isOpen() {
		earliest(s.pingDeadline)
		earliest(s.nextPingLocked())
		resting := s.restingLocked()
		if s.state == leaving || !resting {
			earliest(s.closeDue)
		}
		if !resting {
			earliest(s.inputDue)
		}
		earliest(s.upgradeDue)
		if s.marked > 0 {
			earliest(s.stalled)
		}
	} else {
		earliest(s.lingerDue)
	}
	earliest(s.transport.resume(0))
	if next > 0 && s.state != closed {
		s.server.wheel.schedule(s, next)
	}
}

// tick is how often the wheel looks: fine enough for the shortest wait.
func (c *Config) tick() time.Duration {
	return min(max(min(c.PingInterval, c.PingTimeout)/20, 10*time.Millisecond), 250*time.Millisecond)
}
