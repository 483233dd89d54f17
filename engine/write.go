package engine

import (
	"errors"
	"os"
	"time"

	"github.com/caddy-realtime/realtime/internal/guard"
)

const keepOutbox = 16 // messages that an idle session keeps room for

// writer says which goroutine writes to a session's WebSocket. There is at most
// one, so that the order of the outbox is the order on the wire.
type writer uint8

const (
	idle    writer = iota // none
	writing               // flush, which does not wait; or write, if the connection cannot be tried
	blocked               // write: the connection takes no more for now
)

// flush sends what is queued, as far as that needs no waiting.
func (s *Session) flush(b *Batch) {
	defer s.server.caught("flush", s)
	guard.Fault("flush")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.batch == b {
		s.batch = nil
	}
	s.transport.flush(b)
}

// flush implements transport. What would have to wait is left to a goroutine,
// which then has the session for itself until its outbox is empty.
func (c *conn) flush(b *Batch) {
	s := c.session
	if s.writer != idle || s.state == closed || s.head == len(s.outbox) {
		s.holdLocked()
		return
	}
	s.writer = writing
	if !c.CanTry() {
		go s.write(c)
		return
	}
	for s.head < len(s.outbox) {
		n, whole, err := s.stepLocked(b, c, b.tryWrite)
		s.wroteLocked(c, n)
		if err != nil {
			s.writer = idle
			s.writeFailedLocked(err)
			return
		}
		if !whole {
			s.writer = blocked
			s.holdLocked()
			go s.write(c)
			return
		}
	}
	s.drainedLocked(c)
}

// blocked implements transport.
func (c *conn) blocked() bool {
	s := c.session
	if s.writer == blocked {
		return true
	}
	// On a connection that cannot be tried, a write that has just begun says
	// nothing yet.
	return s.writer == writing && !c.CanTry() && s.wroteAt > 0 && s.server.now()-s.wroteAt > instant(100*time.Millisecond)
}

// end implements transport.
func (c *conn) end(last *Frames) {
	if last != nil {
		c.session.outbox = append(c.session.outbox, last)
		c.session.queued += last.cost()
	}
}

// lingers implements transport: a close frame must be answered.
func (c *conn) lingers() time.Duration {
	if c.session.state >= aborted {
		return 0
	}
	return closeTimeout
}

// close implements transport.
func (c *conn) close() { c.hangUp(nil) }

// write writes until the outbox is empty, and waits where it must.
func (s *Session) write(c *conn) {
	defer s.server.caught("writer", s)
	guard.Fault("writer")
	b := NewBatch()
	defer batches.Put(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.head < len(s.outbox) && s.state != closed {
		s.wroteAt = s.server.now()
		n, _, err := s.stepLocked(b, c, waitWrite)
		s.wroteLocked(c, n)
		if err != nil {
			s.writer = idle
			s.writeFailedLocked(err)
			return
		}
		s.watchLocked()
	}
	b.forget()
	s.drainedLocked(c)
}

// stepLocked writes some of the outbox, by how, with mu released meanwhile:
// only the writer, whom the field writer makes the only one, changes what is
// there already. whole reports whether all that it tried was written.
func (s *Session) stepLocked(b *Batch, c *conn, how func(*conn, []byte) (int, error)) (n int, whole bool, err error) {
	pending, skip := s.outbox[s.head:], s.offset
	s.mu.Unlock()
	defer s.mu.Lock()
	p := b.gather(c, pending, skip)
	n, err = how(c, p)
	return n, n == len(p), err
}

// waitWrite writes all of p, waiting as long as a client may take for it.
func waitWrite(c *conn, p []byte) (int, error) {
	return c.WriteWithin(p, c.session.config.WriteTimeout)
}

// wroteLocked takes n bytes off the outbox.
func (s *Session) wroteLocked(c *conn, n int) {
	for n > 0 && s.head < len(s.outbox) {
		f := s.outbox[s.head]
		rest := len(f.on(c)) - s.offset
		if n < rest {
			s.offset += n
			break
		}
		n -= rest
		if s.held > 0 {
			s.held--
			s.releaseLocked(f)
		}
		s.outbox[s.head] = nil
		s.head++
		s.offset = 0
		s.queued -= f.cost()
		if s.marked > 0 {
			s.marked--
		}
	}
	if s.head > keepOutbox && s.head > len(s.outbox)/2 {
		n := copy(s.outbox, s.outbox[s.head:])
		clear(s.outbox[n:])
		s.outbox, s.head = s.outbox[:n], 0
	}
}

// watchLocked watches the age of a backlog: of the message that is its last
// now, and when that has gone, of the one that is last then. A slow client is
// thus found after one to two WriteTimeouts; one that reads nothing at all
// after one, by the write itself.
func (s *Session) watchLocked() {
	if s.marked == 0 && s.head < len(s.outbox) {
		s.marked = len(s.outbox) - s.head
		s.stalled = s.server.now() + instant(s.config.WriteTimeout)
		s.scheduleLocked()
	}
}

// drainedLocked ends a writer's turn.
func (s *Session) drainedLocked(c *conn) {
	s.writer = idle
	s.marked, s.wroteAt = 0, 0
	if cap(s.outbox) > keepOutbox {
		s.outbox = nil
	}
	s.outbox, s.head = s.outbox[:0], 0
	switch {
	case !s.state.isEnding():
	case c.peerClosed || s.state == aborted:
		go s.hangUp()
	case s.state == halfClosed:
		go c.closeWrite()
	}
}

// writeFailedLocked ends a session whose connection does not work.
func (s *Session) writeFailedLocked(err error) {
	s.unholdLocked()
	s.outbox, s.head, s.offset, s.queued, s.marked = nil, 0, 0, 0, 0
	ended := !s.state.isOpen()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.abortLocked(SlowConsumer)
	} else {
		s.abortLocked(TransportError)
	}
	if ended {
		go s.hangUp()
	}
}
