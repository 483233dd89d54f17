package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/internal/budget"
)

type state uint8

const (
	open    state = iota
	closing       // the reason is known: input is dropped, output refused
)

// Session is one Engine.IO connection, or a plain WebSocket. Its methods are
// safe for concurrent use and never block, whatever locks the caller holds;
// no Receiver method is called from within them.
type Session struct {
	// Static after construction.
	server    *Server
	config    *Config // as of the handshake
	id        string
	handshake Handshake
	origin    string // of the handshake
	kind      Kind
	base64    bool // b64=1: binary messages go as text packets
	receiver  Receiver

	// input is held by whoever feeds the receiver: a worker, a POST, or the
	// goroutine that tells it of the end.
	input sync.Mutex
	told  bool // Receiver.Closed was called; guarded by input

	timer timer // guarded by the wheel

	account atomic.Pointer[budget.Account] // shared with others; nil: with nobody
	bytes   budget.Bucket                  // input

	// Guarded by mu. mu is taken last: nothing but the locks of the wheel and
	// the workers is taken, and nothing is called, while it is held.
	mu     sync.Mutex
	reason Reason
	page   string // the first Origin that came later, if the handshake had none

	// Small ones together: they would be eight bytes each.
	state     state
	busy      bool  // input is held by somebody who looks at state afterwards
	overlap   bool  // a second POST came while one was being read
	graceful  bool  // closing, and a polling client may still fetch what is queued
	finished  bool  // the connection is gone, nothing is left to do
	cut       bool  // the WebSocket is to be closed without a word
	halfClose bool  // its answer to our close frame would not be understood
	pinged    bool  // a ping is unanswered
	extended  bool  // the wait for its answer was prolonged by other input
	writing   bool  // somebody writes to ws
	blocked   bool  // ws takes no more; a goroutine waits for it
	held      int32 // messages of the outbox, from head, that are counted as memory

	ws    *conn // nil while the transport is polling
	probe *conn // the WebSocket of an upgrade in progress
	poll  *poll // the pending GET
	post  *post // the POST that is being read

	outbox  []*Frames
	head    int    // outbox[:head] is written
	offset  int    // bytes of outbox[head] that are written
	queued  int    // what those in outbox that are not cost
	batch   *Batch // the last batch that was told to flush this session
	marked  int    // messages up to the one whose age is watched; 0: none
	stalled instant
	wroteAt instant // when the write in progress began, if it may block

	// When something is due; 0: nothing.
	beat       instant // the next ping, or the end of the wait for a pong
	establish  instant
	inputDue   instant // a begun message must be complete
	upgradeDue instant
	lingerDue  instant // the connection is closed, whatever the peer does
}

// ID is the session's sid: its client's secret.
func (s *Session) ID() string { return s.id }

// Kind is the framing that Frames for this session must have.
func (s *Session) Kind() Kind { return s.kind }

// Handshake is what the session's first request said.
func (s *Session) Handshake() *Handshake { return &s.handshake }

// Account is what the session shares with others: with its address, until
// Share names somebody else. It is nil for an address that is exempt.
func (s *Session) Account() *budget.Account { return s.account.Load() }

// Share makes the session one of those that share a.
func (s *Session) Share(a *budget.Account) { s.account.Store(a) }

// Now is the time since the server exists, for the buckets of accounts: in a
// Receiver's Message as of the input that b is for, which is cheap. b may be
// nil.
func (s *Session) Now(b *Batch) time.Duration {
	if b != nil && b.now > 0 {
		return time.Duration(b.now)
	}
	return time.Duration(s.server.now())
}

// Silent reports whether the session is open and owes an answer to a ping.
func (s *Session) Silent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == open && s.pinged
}

// Send queues f; it goes out when b is flushed. On a session that is closing
// or closed it does nothing. A backlog beyond Config.Outbox closes the session
// as a slow consumer.
func (s *Session) Send(b *Batch, f *Frames) {
	if s.base64 {
		f = f.textOnly()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != open {
		return
	}
	if s.queued > 0 && s.queued+f.cost() > s.config.Outbox && s.blockedLocked() {
		s.cut = true // it would wait behind what is not read
		s.endLocked(SlowConsumer)
		return
	}
	s.queueLocked(b, f)
}

// SendVolatile is Send, but drops f when the client cannot take it right now,
// or memory is tight.
func (s *Session) SendVolatile(b *Batch, f *Frames) {
	if s.base64 {
		f = f.textOnly()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open && !s.blockedLocked() && !s.server.tight() {
		s.queueLocked(b, f)
	}
}

// blockedLocked reports whether the client cannot take a message right now.
func (s *Session) blockedLocked() bool {
	if s.ws == nil {
		return s.poll == nil
	}
	if s.blocked {
		return true
	}
	// On a connection that cannot be tried, a write that has just begun says
	// nothing yet.
	return s.writing && s.ws.raw == nil && s.wroteAt > 0 && s.server.now()-s.wroteAt > instant(100*time.Millisecond)
}

func (s *Session) queueLocked(b *Batch, f *Frames) {
	s.outbox = append(s.outbox, f)
	s.queued += f.cost()
	b.queued++
	b.full = b.full || s.queued > batchBytes
	s.flushWithLocked(b)
}

func (s *Session) flushWithLocked(b *Batch) {
	if s.batch != b {
		s.batch = b
		b.dirty = append(b.dirty, s)
	}
}

// Established says that the handler is satisfied with the session; without
// it the session is closed after Config.HandshakeTimeout.
func (s *Session) Established() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.establish = 0
}

// Close ends the session: what is queued goes out first. Receiver.Closed
// follows on another goroutine. Only the first reason counts.
func (s *Session) Close(reason Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != open {
		return
	}
	s.graceful = true
	if reason == ShuttingDown {
		s.sayLocked(closeFrames(closeGoingAway))
	} else {
		s.sayLocked(emptyClose)
	}
	s.endLocked(reason)
}

// fail ends the session because of what its client or connection did.
func (s *Session) fail(reason Reason, code uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(reason, code)
}

func (s *Session) failLocked(reason Reason, code uint16) {
	if s.state == open {
		s.sayLocked(closeFrames(code))
		s.endLocked(reason)
	}
}

// sayLocked queues the close frame, the last thing that a WebSocket gets.
func (s *Session) sayLocked(f *Frames) {
	if s.ws != nil {
		s.outbox = append(s.outbox, f)
		s.queued += f.cost()
	}
}

// endLocked is the one place where a session stops being open. Whoever holds
// input tells the receiver when he is done; if nobody does, a goroutine.
func (s *Session) endLocked(reason Reason) {
	if s.state != open {
		return
	}
	s.state, s.reason = closing, reason
	if s.post != nil && s.post.ended != nil {
		close(s.post.ended)
	}
	s.resumeLocked(0)
	s.endPollingLocked()
	if !s.busy {
		go s.conclude()
	}
}

// conclude ends a session that was closed from outside.
func (s *Session) conclude() {
	defer s.server.caught("conclude", nil)
	b := NewBatch()
	defer b.Flush()
	s.input.Lock()
	defer s.input.Unlock()
	s.tell(b)
}

// tell does what follows the end of a session, with input held: the receiver
// learns of it and the connection is closed.
func (s *Session) tell(b *Batch) {
	if s.told {
		return
	}
	s.told = true
	s.mu.Lock()
	reason, cut, c := s.reason, s.cut, s.ws
	s.dropProbeLocked(emptyClose)
	s.lingerDue = s.server.now() + instant(closeTimeout)
	if c == nil && s.graceful {
		s.lingerDue = s.server.now() + instant(pollingCloseTimeout)
	}
	s.flushWithLocked(b)
	s.scheduleLocked()
	s.mu.Unlock()

	s.server.ended(s, reason)
	if c != nil && cut {
		c.hangUp(nil)
		s.finish()
	} else if c == nil {
		s.finishUnattached(false)
	}
	defer s.server.open.Done()
	defer s.server.caught("closed", nil)
	s.receiver.Closed(b, reason)
}

// finishUnattached forgets a session that has no connection; not, unless it is
// now, one whose polling client the server said good-bye to and which has not
// heard it yet. A WebSocket that comes later is refused by attach.
func (s *Session) finishUnattached(now bool) {
	s.mu.Lock()
	done := s.ws == nil && (now || !s.graceful)
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
	s.mu.Lock()
	s.finishLocked()
	s.mu.Unlock()
	s.server.forget(s)
}

func (s *Session) finishLocked() {
	s.finished = true
	s.unholdLocked()
	s.outbox, s.head, s.offset, s.queued = nil, 0, 0, 0
}

// enter makes the caller the one who feeds the receiver.
func (s *Session) enter() {
	s.input.Lock()
	s.mu.Lock()
	s.busy = true
	s.mu.Unlock()
}

// leave undoes enter, and ends the session if that is due.
func (s *Session) leave(b *Batch) {
	defer s.input.Unlock()
	s.mu.Lock()
	s.busy = false
	ended := s.state != open
	s.mu.Unlock()
	if ended {
		s.tell(b)
	}
}

// message hands one message to the receiver, and writes if much came of it.
// Input is held.
func (s *Session) message(b *Batch, data []byte, binary bool) {
	s.receiver.Message(b, data, binary)
	b.relieve()
}

// packet takes one Engine.IO text packet. Input is held.
func (s *Session) packet(b *Batch, p []byte) error {
	if len(p) == 0 {
		return errParse
	}
	switch p[0] {
	case packetText:
		s.message(b, p[1:], false)
	case packetBinary:
		data, err := decodeBinary(p[1:])
		if err != nil {
			return err
		}
		s.message(b, data, true)
	case packetPong:
		s.pong()
	case packetPing:
		return errDirection
	case packetClose:
		return errLeft
	case packetOpen, packetUpgrade, packetNoop:
	default:
		return errParse
	}
	return nil
}

func (s *Session) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == open
}
