package engine

import (
	"errors"
	"time"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
	"github.com/caddy-realtime/realtime/internal/guard"
)

// upgradeSession answers the WebSocket of an upgrade. A client that may not
// upgrade gets a WebSocket that is closed at once: as in Node, a refusal by
// HTTP would be an error where clients expect an end.
func (q *request) upgradeSession() {
	if q.hasBody() {
		q.refuse(errRequest)
		return
	}
	s := q.session
	nc, head, windowBits := q.handshake()
	if nc == nil {
		return
	}
	c := newConn(nc, s, windowBits)
	// Before the client knows that it may begin.
	ok := s.startProbe(c)
	_, err := c.WriteWithin(head.data, closeWriteTimeout)
	switch stream, isStream := c.Conn.(*stream); {
	case !ok && err != nil:
		c.hangUp(nil)
	case !ok:
		c.hangUp(emptyClose)
	case err != nil:
		c.dropProbe(nil)
	case isStream:
		c.readProbe(c.readAll)
		stream.wait()
	default:
		go c.readProbe(c.startUpgraded)
	}
}

// readProbe reads a WebSocket until it is the transport of its session, and calls
// next then, or until the upgrade is given up. It does not wait for a POST that
// holds the session's input: the client may upgrade before that is answered.
func (c *conn) readProbe(next func()) {
	defer c.session.server.caught("probe", c.session)
	guard.Fault("probe")
	if c.awaitUpgrade() {
		next()
	}
}

func (c *conn) awaitUpgrade() (upgraded bool) {
	buf := make([]byte, smallRead)
	for {
		upgraded, err := c.probeOnce(buf)
		if err != nil {
			c.drop()
			c.dropProbe(probeClose(err))
			return false
		}
		if upgraded {
			return true
		}
	}
}

// startUpgraded reads c as its session's transport when the rest of a POST is
// handled, for which a worker must not wait.
func (c *conn) startUpgraded() {
	if rest := c.session.unhandled(); rest != nil {
		<-rest
	}
	c.start()
}

// probeOnce reads once. The frames that follow the upgrade are left for the
// reader of the transport.
func (c *conn) probeOnce(buf []byte) (upgraded bool, err error) {
	s, b := c.session, NewBatch()
	defer b.Flush()
	in, off := c.input.Buffer(buf)
	n, readErr := c.Read(in[off:])
	c.uncounted += int32(n)
	defer c.countInput(b)
	if n > 0 {
		s.mu.Lock()
		s.touchLocked()
		s.mu.Unlock()
	}
	for data := in[:off+n]; ; {
		h, err := ws.Parse(data, s.config.MaxPayload, c.deflate.Negotiated())
		switch {
		case upgraded:
			c.keep(data, len(data) > 0 && err != ws.ErrIncomplete)
			return true, nil
		case err == ws.ErrIncomplete:
			c.holdInput(c.input.Keep(data, false))
			return false, readErr
		case err != nil:
			return false, err
		}
		f, whole, err := c.input.Add(h, data, s.config.MaxPayload)
		if err != nil {
			return false, err
		}
		data = data[h.Frame():]
		if whole {
			if upgraded, err = c.probeFrame(b, f); err != nil {
				return false, err
			}
		}
	}
}

var errNoProbe = errors.New("not a packet of an upgrade")

// probeFrame handles a message or a control frame before the upgrade is complete:
// Engine.IO v4, Upgrade.
func (c *conn) probeFrame(b *Batch, f ws.Frame) (upgraded bool, err error) {
	switch f.Op {
	case ws.OpPing:
		return false, c.writeProbe(controlFrames(ws.OpPong, f.Payload))
	case ws.OpPong:
		return false, nil
	case ws.OpClose:
		code, err := ws.ParseClose(f.Payload)
		if err == nil {
			c.dropProbe(closeFrames(code, ""))
			err = errClosed
		}
		return false, err
	}
	data, err := c.payload(b, f)
	switch {
	case err != nil:
		return false, err
	case f.Op == ws.OpText && string(data) == probePing:
		err = c.writeProbe(probeAnswer)
		c.hurryPoll()
		return false, err
	case f.Op != ws.OpText || len(data) != 1 || data[0] != packetUpgrade:
		return false, errNoProbe
	case !c.session.completeUpgrade(b, c):
		return false, errClosed
	}
	return true, nil
}

// hurryPoll has the pending GET answered: the client goes on when it is.
func (c *conn) hurryPoll() {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poll != nil && s.probe == c {
		s.poll.hurry()
	}
}

// writeProbe writes to a probing WebSocket, which has no outbox.
func (c *conn) writeProbe(f *Frames) error {
	if _, err := c.WriteWithin(f.data, closeWriteTimeout); err != nil {
		return errClosed
	}
	return nil
}

// probeClose is the close frame that answers what has ended an upgrade; nil: the
// client gets none.
func probeClose(err error) *Frames {
	var violation *ws.Error
	switch {
	case errors.As(err, &violation):
		return closeFrames(violation.Code, "")
	case errors.Is(err, errNoProbe):
		return emptyClose
	}
	return nil
}

// unhandled is closed when all that the client has sent by POST is handled; nil
// if it is already.
func (s *Session) unhandled() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rest
}

// rejectUpgrade answers an upgrade that names another transport with a WebSocket
// that is closed at once.
func (q *request) rejectUpgrade() {
	if q.hasBody() {
		q.refuse(errRequest)
		return
	}
	nc, head, _ := q.handshake()
	if nc == nil {
		return
	}
	// Whether it arrives makes no difference to us.
	_ = nc.SetWriteDeadline(time.Now().Add(closeWriteTimeout))
	_, _ = nc.Write(append(head.data, emptyClose.data...))
	_ = nc.Close()
}

// startProbe makes c the probing WebSocket, if the session polls and nothing
// else upgrades it.
func (s *Session) startProbe(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.isOpen() || !s.polls() || s.probe != nil {
		return false
	}
	s.probe = c
	if s.delay != nil {
		s.delay.hurry()
	}
	s.upgradeDue = s.server.now() + instant(s.config.UpgradeTimeout)
	s.scheduleLocked()
	return true
}

// completeUpgrade makes c the transport. What is queued goes out on it; the
// heartbeat goes on as it was.
func (s *Session) completeUpgrade(b *Batch, c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.isOpen() || s.probe != c {
		return false
	}
	s.transport, s.probe, s.upgradeDue = c, nil, 0
	if s.poll != nil { // a client that upgrades has none: it came after the upgrade packet
		s.poll.answer <- nil
		s.poll = nil
	}
	s.flushWithLocked(b)
	return true
}

// dropProbe ends an upgrade; the session goes on polling.
func (c *conn) dropProbe(last *Frames) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probe == c {
		s.dropProbeLocked(last)
	}
}

// dropProbeLocked ends an upgrade: it has failed, takes too long, or its
// session ends. The goroutine keeps Server.Close waiting.
func (s *Session) dropProbeLocked(last *Frames) {
	c := s.probe
	if c == nil {
		return
	}
	s.probe, s.upgradeDue = nil, 0
	s.server.present.Add(1)
	go func() {
		s.server.insist("upgrade", func() { c.hangUp(last) })
		s.server.present.Done()
	}()
}
