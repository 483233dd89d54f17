package engine

import (
	"math"
	"time"

	"github.com/caddy-realtime/realtime/internal/budget"
)

const (
	shared  = 10               // sessions' worth of input that those with one account have together
	maxWait = 30 * time.Second // of a POST, well below what servers wait for a body

	farewellPause = 100 * time.Millisecond // between the reads of a flood whose session has ended

	never instant = math.MaxInt64
)

// Charge counts n bytes of input more than the client has sent, for what it
// costs beside reading it: so much later is more read. b may be nil.
func (s *Session) Charge(b *Batch, n int) { s.spend(b, n) }

// spend counts n bytes of input and returns how long to read no more.
func (s *Session) spend(b *Batch, n int) (wait time.Duration) {
	r := s.server.config.Load().Bytes
	if r.Off() {
		return 0
	}
	now := s.Now(b)
	wait = s.bytes.Spend(r, n, now)
	if a := s.Account(); a != nil {
		wait = max(wait, a.Bytes.Spend(r.Times(shared), n, now))
	}
	return wait
}

// pause reports whether the client has sent more than it may for now. The
// caller must not touch c any more then: the wheel gives it to another reader
// when it may go on.
func (c *conn) pause(b *Batch) bool {
	s := c.session
	n := int(c.unpaid)
	wait := s.spend(b, n)
	c.unpaid = 0
	if wait == 0 || c.probing { // an upgrade has its own limit
		return false
	}
	s.server.exhausted.Add(budget.Bytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != open {
		if s.state == gone || n == 0 {
			return false
		}
		// What it sends now means nothing, but behind it may be the answer
		// to our close frame.
		c.resume = s.server.now() + instant(farewellPause)
		s.scheduleLocked()
		return true
	}
	c.resume = s.server.now() + instant(wait)
	s.excuseLocked(c.resume)
	if s.inputDue > 0 {
		s.inputDue += instant(wait)
	}
	s.scheduleLocked()
	return true
}

// resumeLocked reads again from a connection whose pause is over at t. Any is
// at never, for when the session ends or the connection does: then the reader
// has to find that.
func (s *Session) resumeLocked(t instant) {
	c := s.ws
	if c == nil || c.resume == 0 || c.resume > t {
		return
	}
	c.resume = 0
	if c.polled { // and served, as far as it knows
		s.server.poller.resume(c)
	} else {
		go c.readAll()
	}
}

// excuseLocked prolongs the wait for a pong that may lie behind what we do not
// read before t: an honest client that uploads is not to be taken for a dead
// one.
func (s *Session) excuseLocked(t instant) {
	if s.pulse != calm {
		s.beat = max(s.beat, t+instant(s.config.PingTimeout))
	}
}

// hold lets a POST wait until its client may send again. There is one at a
// time, so that nothing is gained by not waiting for the answer.
func (q *request) hold() {
	s := q.session
	wait := min(s.spend(nil, 0), maxWait)
	if wait == 0 {
		return
	}
	s.server.exhausted.Add(budget.Bytes)
	ended := s.excusePost(wait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
	case <-q.r.Context().Done():
	}
}

// excusePost prepares a POST's wait; ended is closed when the session ends.
func (s *Session) excusePost(wait time.Duration) (ended <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{})
	if s.post == nil || s.state != open {
		close(c)
		return c
	}
	s.post.ended, s.post.until = c, s.server.now()+instant(wait)
	s.excuseLocked(s.post.until)
	return c
}
