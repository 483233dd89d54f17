package engine

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
	"unicode/utf8"

	"github.com/caddy-realtime/realtime/engine/internal/netpoll"
	"github.com/caddy-realtime/realtime/engine/internal/ws"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/guard"
)

const (
	readSize  = 64 << 10 // buffer of a worker
	smallRead = 2 << 10  // buffer of a connection that has a goroutine of its own
	readTurns = 4        // reads of one connection before others get a turn
)

// conn is one WebSocket connection.
type conn struct {
	netpoll.Socket
	session *Session
	deflate ws.Deflate

	// Owned by the reader, of which there is one at a time.
	turn      instant       // when it may go on; 0: it need not wait
	cost      time.Duration // what its last message took of its account, in the time in which that comes back
	input     ws.Decoder
	uncounted int32 // bytes of input that countInput has not counted
	discard   bool  // what comes after a violation means nothing
	fresh     bool  // a message was completed by this input
	timed     bool  // the session waits for the rest of a message
	polled    bool  // the poller watches it

	// Guarded by the session's mu.
	resumeAt   instant // when to read again; 0: it does not rest
	rested     instant // when it began to rest
	peerClosed bool
}

// newConn makes a session's connection. windowBits is what was negotiated for
// permessage-deflate; 0: nothing was.
func newConn(nc net.Conn, s *Session, windowBits int) *conn {
	c := &conn{session: s}
	c.Init(nc)
	if windowBits > 0 {
		c.deflate = ws.NewDeflate(s.config.Compression, windowBits)
	}
	if tcp := c.TCP(); tcp != nil {
		// What a client does not read waits in our outbox, where it is
		// counted, not in the kernel, which would grow to megabytes. The
		// kernel doubles the figure. An error leaves things as they are.
		_ = tcp.SetWriteBuffer(128 << 10)
		if !s.config.Rates[budget.Bytes].Off() {
			// What is read later waits at the client, not in the kernel.
			_ = tcp.SetReadBuffer(128 << 10)
		}
	}
	return c
}

// start begins to read.
func (c *conn) start() {
	c.polled = true
	backlog := c.input.HasBacklog()
	if backlog || c.Secure() { // there may be input that the poller does not know of
		c.Claim()
	}
	switch s := c.session.server; {
	case !s.poller.Watch(c):
		c.polled = false
		go c.readAll()
	case c.Secure():
		go c.startTLS()
	case backlog:
		s.ready(c)
	}
}

// Polled is for the poller.
func (c *conn) Polled() *netpoll.Socket { return &c.Socket }

// Ready finds a reader for c, which has input. It is for the poller.
func (c *conn) Ready() {
	if c.Secure() {
		go c.readArrived()
	} else {
		c.session.server.ready(c)
	}
}

// readAgain finds a reader for c, which has rested.
func (c *conn) readAgain() {
	switch {
	case !c.polled:
		go c.readAll()
	case c.Secure():
		go c.readRested()
	default:
		c.session.server.ready(c)
	}
}

// readAll reads until the connection ends, on a goroutine of its own.
func (c *conn) readAll() {
	defer c.session.server.caught("reader", c.session)
	guard.Fault("reader")
	buf := make([]byte, smallRead)
	for c.readOnce(buf) {
	}
}

func (c *conn) readOnce(buf []byte) (goOn bool) {
	b := NewBatch()
	defer b.Flush()
	switch {
	case c.pause(b):
		return false
	case c.input.HasBacklog():
		return c.catchUp(b)
	}
	goOn, _ = c.readBy(b, buf)
	c.countInput(b)
	return goOn
}

// readBy reads and handles what came, on a connection that may have a read
// deadline; late reports whether that was what ended the read.
func (c *conn) readBy(b *Batch, buf []byte) (goOn, late bool) {
	in, off := c.input.Buffer(buf)
	n, err := c.Conn.Read(in[off:])
	if late = errors.Is(err, os.ErrDeadlineExceeded); late {
		err = nil
	}
	if n == 0 && late {
		return true, true
	}
	c.uncounted += int32(n)
	return c.take(b, in[:off+n], err), late
}

// outcome says what is to be done with a connection after a worker's turn.
type outcome uint8

const (
	toWait outcome = iota // until there is input
	toRead                // at once
	toRest                // until the wheel says so
	toEnd                 // it is not read any more
)

// serve reads what is there and handles it. A connection that rests may be
// served by another worker already when serve returns.
func (c *conn) serve(b *Batch) outcome {
	for turn, began := 0, instant(0); turn < readTurns; turn++ {
		if c.pause(b) {
			return toRest
		}
		if c.input.HasBacklog() {
			if !c.catchUp(b) {
				return toEnd
			}
		} else {
			in, off := c.input.Buffer(b.slab)
			n, err := b.try.Read(&c.Socket, in[off:])
			if n == 0 && err == nil {
				return toWait
			}
			c.uncounted += int32(n)
			if !c.take(b, in[:off+n], err) {
				return toEnd
			}
			c.countInput(b)
			if !c.input.HasBacklog() && n < len(in)-off && !c.Ended() {
				return toWait // a short read took everything: epoll(7)
			}
		}
		if began == 0 {
			began = b.now
		} else if b.now > began+turnTime {
			return toRead
		}
	}
	return toRead
}

// catchUp handles the backlog of frames, at least one. It reports whether the
// connection can still be read.
func (c *conn) catchUp(b *Batch) (goOn bool) { return c.take(b, nil, nil) }

// take handles the input in data, after the backlog, and err, which ended the
// reading. It reports whether the connection can still be read.
func (c *conn) take(b *Batch, data []byte, err error) (goOn bool) {
	s := c.session
	s.enter()
	defer s.leave(b)
	defer s.server.caught("receiver", s)
	b.now = s.server.now()
	if bad := c.handle(b, data); bad != nil {
		c.drop()
		return c.refuse(bad)
	}
	if err = c.input.End(err); c.input.HasBacklog() {
		return true
	}
	if err != nil {
		c.drop()
		c.lost()
		return false
	}
	return true
}

// handle handles frames of the backlog or, if there is none, of data. Data that
// was read while there is a backlog is added to it.
func (c *conn) handle(b *Batch, data []byte) (bad error) {
	s, behind := c.session, c.input.HasBacklog()
	switch {
	case c.discard:
		return nil
	case len(data) > 0:
		s.mu.Lock()
		s.touchLocked()
		s.mu.Unlock()
		if behind { // crypto/tls had it already
			c.holdInput(c.input.Append(data))
			return nil
		}
	case behind:
		data = c.input.Backlog()
	default:
		return nil
	}
	c.discard = true // in case of a panic
	guard.Fault("receiver")
	used, behind, bad := c.consume(b, data)
	c.discard = false
	if bad == nil {
		c.keep(data[used:], behind)
	}
	return bad
}

// consume handles the complete frames in data until the client's turn ends. Then
// behind is true: the rest begins with a complete frame.
func (c *conn) consume(b *Batch, data []byte) (used int, behind bool, err error) {
	limit, began := c.session.config.MaxPayload, b.now
	for i := 0; ; i++ {
		h, err := ws.Parse(data[used:], limit, c.deflate.Negotiated())
		if err == ws.ErrIncomplete {
			return used, false, nil
		}
		if err != nil {
			return used, false, err
		}
		if i > 0 && !c.mayGoOn(b, i, began) {
			return used, true, nil
		}
		f, whole, err := c.input.Add(h, data[used:], limit)
		if err != nil {
			return used, false, err
		}
		used += h.Frame()
		b.cost = 0
		if whole {
			if err := c.frame(b, f); err != nil {
				return used, false, err
			}
		}
		c.cost = b.cost
	}
}

// framesUnasked is how many frames are handled between two looks at the clock.
// What takes long tells so itself, see Spend.
const framesUnasked = 16

// mayGoOn reports whether c may handle another frame in its turn, which has begun
// then: so that one that sends many at once does not keep a worker for all.
func (c *conn) mayGoOn(b *Batch, handled int, began instant) bool {
	s := c.session
	if handled%framesUnasked == 0 {
		b.now = max(b.now, s.server.now())
	}
	return b.now <= began+turnTime && !(s.owes(b.now) && s.isOpen())
}

// keep keeps the frames that were not handled, and watches that a begun message
// is completed in time.
func (c *conn) keep(rest []byte, behind bool) {
	c.holdInput(c.input.Keep(rest, behind))
	begun := c.input.Incomplete()
	fresh := c.fresh
	c.fresh = false
	if begun == c.timed && !(begun && fresh) {
		return
	}
	c.timed = begun
	if begun {
		c.session.inputBy(c.session.server.now() + instant(c.session.config.InputTimeout))
	} else {
		c.session.inputBy(0)
	}
}

// holdInput counts the memory that the input has grown by.
func (c *conn) holdInput(grown int) {
	if grown != 0 {
		c.session.server.Hold(budget.Input, grown)
	}
}

// drop forgets what was not completed.
func (c *conn) drop() { c.holdInput(c.input.Drop()) }

// inputBy sets when a begun message must be complete; 0: none has begun.
func (s *Session) inputBy(t instant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inputDue = t
	if t > 0 {
		s.scheduleLocked()
	}
}

// frame handles a message or a control frame. Input is held.
func (c *conn) frame(b *Batch, f ws.Frame) error {
	switch f.Op {
	case ws.OpPing:
		c.answer(b, controlFrames(ws.OpPong, f.Payload))
		return nil
	case ws.OpPong:
		if c.session.kind == PlainText {
			c.session.pong()
		}
		return nil
	case ws.OpClose:
		code, err := ws.ParseClose(f.Payload)
		if err != nil {
			return err
		}
		c.closedBy(b, code)
		return errClosed
	}
	return c.complete(b, f)
}

// payload is the content of a message, which is valid until b inflates another.
func (c *conn) payload(b *Batch, f ws.Frame) (data []byte, err error) {
	data = f.Payload
	if f.Compressed {
		if b.text, err = ws.Inflate(b.text[:0], data, c.session.config.MaxPayload); err != nil {
			return nil, err
		}
		data = b.text
	}
	if f.Op == ws.OpText && !utf8.Valid(data) {
		return nil, ws.ErrText
	}
	return data, nil
}

// complete handles one message.
func (c *conn) complete(b *Batch, f ws.Frame) error {
	s, op := c.session, f.Op
	c.fresh = true
	data, err := c.payload(b, f)
	if err != nil {
		return err
	}
	if !s.isOpen() {
		return nil
	}
	if s.kind == PlainText || op == ws.OpBinary {
		s.message(b, data, op == ws.OpBinary)
		return nil
	}
	if len(data) > 0 && data[0] == packetClose {
		return nil // means something on polling only
	}
	return s.packet(b, data)
}

// answer queues a control frame, unless the client does not even take what it
// asked for before.
func (c *conn) answer(b *Batch, f *Frames) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.isOpen() && !s.transport.blocked() {
		s.queueLocked(b, f)
	}
}

// refuse ends the session because of what was received.
func (c *conn) refuse(err error) (goOn bool) {
	s := c.session
	code, why, reason := uint16(ws.CloseNoStatus), "", TransportError
	var violation *ws.Error
	switch {
	case errors.Is(err, errClosed):
		return false
	case errors.Is(err, errParse):
		reason = ParseError
	case errors.As(err, &violation):
		code = violation.Code
		if s.kind == PlainText { // Node sends Engine.IO clients none
			why = violation.Reason
		}
	}
	if !s.isOpen() {
		c.lost()
		return false
	}
	c.discard = code != ws.CloseNoStatus
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.discard {
		s.halfCloseLocked(reason, closeFrames(code, why))
	} else {
		s.failLocked(reason, code)
	}
	return true // until the peer has seen it and closes
}

// closedBy handles a close frame: it is echoed, and the connection closed.
func (c *conn) closedBy(b *Batch, code uint16) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	c.peerClosed = true
	if s.state.isOpen() {
		s.failLocked(TransportClose, code)
	} else if s.writer == idle {
		go s.hangUp()
	}
}

// lost is called when there is nothing more to read.
func (c *conn) lost() {
	s := c.session
	s.mu.Lock()
	ended := !s.state.isOpen()
	s.abortLocked(TransportClose)
	s.mu.Unlock()
	if ended {
		s.hangUp()
	}
}

// hangUp closes the connection, after a last frame if there is one. It may
// block for a moment.
func (c *conn) hangUp(last *Frames) {
	if last != nil {
		// Whether it arrives makes no difference to us.
		_, _ = c.WriteWithin(last.data, closeWriteTimeout)
	}
	if err := c.Conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
		c.session.server.config.Load().Logger.Debug("closing connection", "error", err)
	}
	c.session.server.poller.Closed(c)
}

// closeWrite tells the peer that nothing more comes.
func (c *conn) closeWrite() {
	defer c.session.server.caught("half close", nil)
	guard.Fault("half close")
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		// A connection that is gone already is what the reader finds.
		_ = h.CloseWrite()
	}
}
