package engine

import (
	"time"

	"github.com/caddy-realtime/realtime/internal/budget"
)

const (
	shared   = 10               // sessions' worth of each rate that those with one account have together
	maxDelay = 30 * time.Second // before the body of a POST is read: servers wait about as long for one
	lookWait = time.Second      // between two looks whether a client still has to wait: a reload may have lifted the limit

	endedPause = 100 * time.Millisecond // between the reads of a flood whose session has ended
)

// A client that has used up more than Config.Rates allow is read later. What has
// arrived of it stays where it is: in the connection, and what was read already
// in its buffer. Meanwhile it gets what others send it, and pings at every
// interval; nothing ends because it had to wait.

// Spend counts n of what the client uses up. If that is more than it may, its
// next message waits. b may be nil.
func (s *Session) Spend(b *Batch, k budget.Kind, n int) {
	if k == budget.CPU && b != nil && b.now > 0 {
		b.now += instant(n) // as good as a look at the clock
	}
	r := s.server.config.Load().Rates[k]
	if r.Off() {
		return
	}
	now := s.Now(b)
	s.meter.Spend(k, r, n, now)
	if a := s.Account(); a != nil {
		cost := a.Spend(k, r.Times(shared), n, now)
		if b != nil {
			b.cost += cost
		}
	}
}

// SpendOf counts what a session has used up that is gone, for those it shared a
// with.
func (s *Server) SpendOf(a *budget.Account, k budget.Kind, n int) {
	a.Spend(k, s.config.Load().Rates[k].Times(shared), n, time.Duration(s.now()))
}

// owes reports whether the client has used up more than it may. It is cheap as
// long as that is not so; now may be a moment ago.
func (s *Session) owes(now instant) bool {
	t, a := time.Duration(now), s.Account()
	if !s.meter.Owes(t) && (a == nil || !a.Owes(t)) {
		return false
	}
	r, t := &s.server.config.Load().Rates, time.Duration(s.server.now())
	wait, _ := s.meter.Wait(r, 1, t)
	if wait == 0 && a != nil {
		wait, _ = a.Wait(r, shared, t)
	}
	return wait > 0
}

// nextTurn returns when the client's next message may be handled: when it owes
// nothing and, if those that share its account do, after the messages of the
// others that wait. cost is what its last one took of the account, in time.
func (s *Session) nextTurn(cost time.Duration) instant {
	r, now := &s.server.config.Load().Rates, time.Duration(s.server.now())
	wait, kind := s.meter.Wait(r, 1, now)
	turn := now + wait
	if a := s.Account(); a != nil {
		if wait, k := a.Wait(r, shared, now); wait > 0 {
			if t := a.Queue(now+wait, cost); t > turn {
				turn, kind = t, k
			}
		}
	}
	if turn > now {
		s.server.exhausted.Add(kind)
	}
	return instant(turn)
}

// heavy reports whether rules took long for what the client sent lately.
func (s *Session) heavy() bool {
	full := s.meter.Full(budget.CPU)
	if full == 0 {
		return false
	}
	r := s.server.config.Load().Rates[budget.CPU]
	return r.Amount(full-time.Duration(s.server.now())) > float64(heavyWork)
}

// countInput counts the input that was read.
func (c *conn) countInput(b *Batch) {
	if c.uncounted > 0 {
		before := b.cost
		c.session.Spend(b, budget.Bytes, int(c.uncounted))
		c.cost += b.cost - before
		c.uncounted = 0
	}
}

// pause reports whether c has to wait before its next message is handled. The
// caller must not touch c any more then: the wheel gives it to another reader
// when it may go on.
func (c *conn) pause(b *Batch) bool {
	s := c.session
	if c.turn == 0 && !s.owes(b.now) {
		return false
	}
	now := s.server.now()
	switch {
	case c.turn == 0:
		c.turn = s.nextTurn(c.cost)
	case !s.owes(now) || !s.isOpen():
		c.turn = 0
	}
	if c.turn > now && c.rest(now) {
		return true
	}
	c.turn = 0
	return false
}

// rest has c wait; false if nothing is left to wait for.
func (c *conn) rest(now instant) bool {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state.isOpen():
		c.resumeAt, c.rested = min(c.turn, now+instant(lookWait)), now
		s.slowLocked(c.resumeAt)
	case s.state == closed:
		return false
	default:
		// What it sends now is discarded, but the answer to our close frame
		// may follow.
		c.resumeAt = now + instant(endedPause)
	}
	s.scheduleLocked()
	return true
}

// resume implements transport. Pass never to resume unconditionally, so that the
// reader notices that the session or the connection has ended.
func (c *conn) resume(t instant) (until instant) {
	if c.resumeAt == 0 || c.resumeAt > t {
		return c.resumeAt
	}
	c.resumeAt = 0
	c.session.extendDeadlinesLocked(c.rested)
	c.readAgain()
	return 0
}

// extendDeadlinesLocked gives a client that was not read from then until now so much more
// time for what it owes us: the rest of a message, and its CONNECT.
func (s *Session) extendDeadlinesLocked(then instant) {
	late := s.server.now() - then
	if s.inputDue > 0 {
		s.inputDue += late
	}
	if s.closeDue > 0 && s.state != leaving {
		s.closeDue += late
	}
}

// restingLocked reports whether the client has to wait until it is read.
func (s *Session) restingLocked() bool {
	return s.transport.resume(0) > 0 || s.delay != nil
}

// delay is a POST that waits for its client's turn.
type delay struct {
	since     instant
	until     instant       // when it looks again
	ended     chan struct{} // closed when the session ends
	upgrading chan struct{} // closed when an upgrade begins; nil if it waits all the same
}

// await lets a POST wait until its client's next message may be handled, at most
// for limit if that is not 0. It returns at once if the session ends, and if
// hurried when an upgrade is in progress: the client completes it only when the
// POST is answered.
func (s *Session) await(cost, limit time.Duration, hurried bool) (upgrading bool) {
	if !s.owes(s.server.now()) {
		return false
	}
	turn, now := s.nextTurn(cost), s.server.now()
	if limit > 0 {
		turn = min(turn, now+instant(limit))
	}
	d := &delay{since: now, ended: make(chan struct{})}
	if hurried {
		d.upgrading = make(chan struct{})
	}
	defer s.endDelay(d)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ; now < turn && s.owes(now); now = s.server.now() {
		wait := min(time.Duration(turn-now), lookWait)
		if !s.setDelay(d, wait) {
			return false
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-d.ended:
			return false
		case <-d.upgrading:
			return true
		}
	}
	return false
}

// setDelay notes that a POST waits for the given time. It is false if the session has
// ended.
func (s *Session) setDelay(d *delay, wait time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.isOpen() {
		return false
	}
	s.delay = d
	d.until = s.server.now() + instant(wait)
	s.slowLocked(d.until)
	s.scheduleLocked()
	if s.probe != nil {
		d.hurry()
	}
	return true
}

func (s *Session) endDelay(d *delay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delay == d {
		s.delay = nil
		s.extendDeadlinesLocked(d.since)
	}
}

// hurry has the POST answered although it waits.
func (d *delay) hurry() {
	if d.upgrading == nil {
		return
	}
	select {
	case <-d.upgrading:
	default:
		close(d.upgrading)
	}
}
