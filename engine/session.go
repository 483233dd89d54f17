package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/internal/budget"
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

	// input is held by the goroutine that calls the receiver: a worker, a POST, or the
	// goroutine that tells it of the end.
	input    sync.Mutex
	notified bool // Receiver.Closed was called; guarded by input

	timer timer // guarded by the wheel

	account atomic.Pointer[budget.Account] // shared with other sessions; nil: none
	meter   budget.Meter                   // what the client uses up

	// Guarded by mu. mu is taken last: nothing but the locks of the wheel and
	// the workers is taken, and nothing is called, while it is held.
	mu     sync.Mutex
	reason Reason // does not change once the session is not open
	page   string // the first Origin that came later, if the handshake had none

	// Small ones together: they would be eight bytes each.
	state     state
	writer    writer
	pingState pingState
	entered   bool  // a goroutine is between enter and leave
	held      int32 // messages of the outbox, from head, that are counted as memory

	unanswered int32 // pings

	transport transport
	probe     *conn         // the WebSocket of an upgrade in progress
	poll      *poll         // the pending GET
	post      *post         // the POST that is being read
	delay     *delay        // a POST waits for the client's turn
	rest      chan struct{} // closed when the rest of a POST that was answered is handled; nil if none was

	outbox  []*Frames
	head    int    // outbox[:head] is written
	offset  int    // bytes of outbox[head] that are written
	queued  int    // what those in outbox that are not cost
	batch   *Batch // the last batch that was told to flush this session
	marked  int    // messages up to the one whose age is watched; 0: none
	stalled instant
	wroteAt instant // when the write in progress began, if it may block

	// When something is due; 0: nothing.
	pingDeadline instant // the next ping, or the end of the wait for a pong
	pinged       instant // when the last ping was queued
	answered     instant // and the last that was answered; 0: none was
	closeDue     instant // the end: it is not established in time, or CloseSoon was called
	inputDue     instant // a begun message must be complete
	upgradeDue   instant
	lingerDue    instant // the connection is closed, whatever the peer does
}

// ID is the session's sid: its client's secret.
func (s *Session) ID() string { return s.id }

// Detached returns a session that has ended, without a handshake, for sockets
// that outlive their own.
func (s *Server) Detached() *Session {
	session := &Session{server: s, config: s.config.Load(), state: closed}
	session.transport = polling{session}
	return session
}

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

// Silent reports whether the session is open and owes an answer to a ping, which
// is not for us to read.
func (s *Session) Silent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.isOpen() && (s.pingState == pingAwaiting || s.pingState == pingExtended)
}

// Established says that the handler is satisfied with the session; without
// it the session is closed after Config.HandshakeTimeout.
func (s *Session) Established() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open {
		s.closeDue = 0
	}
}

// enter makes the caller the one that may call the receiver.
func (s *Session) enter() {
	s.input.Lock()
	s.mu.Lock()
	s.entered = true
	s.mu.Unlock()
}

// leave undoes enter, and ends the session if that is due.
func (s *Session) leave(b *Batch) {
	defer s.input.Unlock()
	s.mu.Lock()
	s.entered = false
	ended := !s.state.isOpen()
	s.mu.Unlock()
	if ended {
		s.notifyClosed(b)
	}
}

// message hands one message to the receiver, and writes if much came of it.
// Input is held.
func (s *Session) message(b *Batch, data []byte, binary bool) {
	s.receiver.Message(b, data, binary)
	b.flushIfLarge()
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

// Send queues f; it goes out when b is flushed. On a session that is closing
// or closed it does nothing. A backlog beyond Config.Outbox closes the session
// as a slow consumer.
func (s *Session) Send(b *Batch, f *Frames) {
	if s.base64 {
		f = f.textOnly()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.isOpen() {
		return
	}
	if s.queued > 0 && s.queued+f.cost() > s.config.Outbox && s.transport.blocked() {
		s.abortLocked(SlowConsumer) // a close frame would wait behind what is not read
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
	if s.state.isOpen() && !s.transport.blocked() && !s.server.memoryPressure() {
		s.queueLocked(b, f)
	}
}

func (s *Session) queueLocked(b *Batch, f *Frames) {
	s.outbox = append(s.outbox, f)
	s.queued += f.cost()
	b.queued++
	b.full = b.full || s.queued > batchBytes && !s.transport.blocked()
	s.flushWithLocked(b)
}

func (s *Session) flushWithLocked(b *Batch) {
	if s.batch != b {
		s.batch = b
		b.dirty = append(b.dirty, s)
	}
}
