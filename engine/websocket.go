package engine

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
	"github.com/caddy-realtime/realtime/internal/guard"
)

const closeWriteTimeout = time.Second

// openWebSocket opens a session on a WebSocket.
func (q *request) openWebSocket(kind Kind) {
	if !q.admit() {
		return
	}
	c := q.connectAdmitted(kind)
	if c == nil {
		q.server.handshaken(failed)
		q.logRefusal(failed, "no WebSocket could be opened", "")
		return
	}
	q.server.handshaken(accepted)
	q.read(c)
}

func (q *request) connectAdmitted(kind Kind) *conn {
	defer q.done()
	return q.connect(kind)
}

// connect makes the session and the connection, nil if that failed.
func (q *request) connect(kind Kind) *conn {
	if q.hasBody() {
		q.refuse(errRequest)
		return nil
	}
	nc, head, windowBits := q.handshake()
	if nc == nil {
		return nil
	}
	s := q.server.openSession(q, kind)
	if s == nil {
		// Too late for an answer: the request is hijacked.
		_ = nc.Close()
		return nil
	}
	c := newConn(nc, s, windowBits)
	b := NewBatch()
	defer b.Flush()
	if !s.attach(b, c, head) {
		c.hangUp(nil)
		s.finish()
		return nil
	}
	return c
}

// attach makes c the transport of a new session; false if nothing is left of
// the session. One that the handler has closed gets what is queued, and the
// close frame.
func (s *Session) attach(b *Batch, c *conn, head *Frames) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state >= aborted {
		return false
	}
	s.transport = c
	s.unholdLocked()
	if head.Len() > 0 { // that of a stream is sent already, and an empty one would be written for ever
		s.outbox = append([]*Frames{head}, s.outbox[s.head:]...)
		s.head = 0
		s.queued += head.cost()
	}
	if !s.state.isOpen() {
		c.end(emptyClose)
		s.lingerDue = s.server.now() + instant(closeTimeout)
		s.scheduleLocked()
	}
	s.flushWithLocked(b)
	return true
}

// read starts reading c. On HTTP/2 and 3 it blocks, since the stream lives as
// long as the request.
func (q *request) read(c *conn) {
	if stream, ok := c.Conn.(*stream); ok {
		c.readAll()
		stream.wait()
		return
	}
	c.start()
}

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
	c.probing = true
	// Before the client knows that it may begin.
	ok := s.startProbe(c)
	_, err := c.WriteWithin(head.data, closeWriteTimeout)
	switch _, stream := c.Conn.(*stream); {
	case !ok && err != nil:
		c.hangUp(nil)
	case !ok:
		c.hangUp(emptyClose)
	case err != nil:
		c.dropProbe(nil)
	case stream:
		q.read(c)
	default:
		go c.readProbe()
	}
}

// readProbe reads until the upgrade is complete or given up. Then it waits until
// the rest of a POST is handled, which a worker must not.
func (c *conn) readProbe() {
	defer c.session.server.caught("probe", c.session)
	guard.Fault("probe")
	buf := make([]byte, smallRead)
	for c.readOnce(buf) {
		if !c.probing {
			if rest := c.session.unhandled(); rest != nil {
				<-rest
			}
			c.start()
			return
		}
	}
}

// unhandled is closed when all that the client has sent by POST is handled; nil
// if it is already.
func (s *Session) unhandled() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rest
}

// turnAway answers an upgrade that names another transport with a WebSocket
// that is closed at once.
func (q *request) turnAway() {
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

// probed handles a message on a probing WebSocket: Engine.IO v4, Upgrade.
func (c *conn) probed(b *Batch, op byte, data []byte) error {
	s := c.session
	switch {
	case op == ws.OpText && string(data) == probePing:
		if !c.say(probeAnswer) {
			c.dropProbe(nil)
			return errClosed
		}
		s.mu.Lock()
		if s.poll != nil && s.probe == c {
			s.poll.hurry()
		}
		s.mu.Unlock()
	case op == ws.OpText && len(data) == 1 && data[0] == packetUpgrade:
		if !s.completeUpgrade(b, c) {
			c.dropProbe(nil)
			return errClosed
		}
		c.probing = false
	default:
		c.dropProbe(emptyClose)
		return errClosed
	}
	return nil
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

// say writes a frame on a probing WebSocket, which has no outbox.
func (c *conn) say(f *Frames) bool {
	_, err := c.WriteWithin(f.data, closeWriteTimeout)
	return err == nil
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

// hasBody reports whether an upgrade carries a body. It must not: in Caddy it
// would leave a read deadline on the connection.
func (q *request) hasBody() bool {
	return q.r.Method != http.MethodConnect && (q.r.ContentLength != 0 || len(q.r.TransferEncoding) > 0)
}

// handshake does the WebSocket handshake, except that the head of the answer
// is left to the caller: it goes out together with the first packet. Without a
// connection it has answered the request. windowBits is 0 if no compression was
// negotiated.
func (q *request) handshake() (nc net.Conn, head *Frames, windowBits int) {
	u := websocket.Upgrader{
		ReadBufferSize:  256, // both buffers are dropped at once, with gorilla's Conn
		WriteBufferSize: 256,
		CheckOrigin:     func(*http.Request) bool { return true }, // done
		Error: func(w http.ResponseWriter, _ *http.Request, _ int, _ error) {
			w.Header().Set("Sec-WebSocket-Version", "13")
			q.refuse(errRequest)
		},
	}
	shim := &hijacker{ResponseWriter: q.w, r: q.r}
	header := http.Header{}
	for _, k := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Vary"} {
		if v := q.w.Header()[k]; len(v) > 0 {
			header[k] = v
		}
	}
	if protocol := selectProtocol(q.r.Header); protocol != "" {
		header["Sec-Websocket-Protocol"] = []string{protocol}
	}
	_, err := u.Upgrade(shim, shim.request(), header)
	if err != nil {
		if shim.conn != nil {
			_ = shim.conn.Close() // it sent something before it was asked to
		}
		return nil, nil, 0
	}
	config := q.config
	if q.session != nil {
		config = q.session.config // compression may have been switched on or off since
	}
	if config.Compression > 0 {
		// gorilla would take every offer, whatever its parameters.
		var extension string
		if extension, windowBits = ws.AcceptDeflate(q.r.Header["Sec-Websocket-Extensions"]); extension != "" {
			shim.head.Truncate(shim.head.Len() - len("\r\n"))
			shim.head.WriteString("Sec-WebSocket-Extensions: " + extension + "\r\n\r\n")
		}
	}
	data := shim.head.Bytes()
	if stream, ok := shim.conn.(*stream); ok {
		stream.answer(data)
		data = nil
	}
	return shim.conn, &Frames{data: bytes.Clone(data), raw: true, own: true}, windowBits
}

// selectProtocol returns the first subprotocol that a WebSocket offers, as Node
// does, but never a token: a client that offers any gives up if none is selected.
func selectProtocol(h http.Header) string {
	for _, line := range h.Values("Sec-Websocket-Protocol") {
		for item := range strings.SplitSeq(line, ",") {
			if item = strings.TrimSpace(item); isProtocol(item) && !isBearer(item) {
				return item
			}
		}
	}
	return ""
}

// isProtocol reports whether s may name a subprotocol: it is a token (RFC 9110,
// 5.6.2) of reasonable length.
func isProtocol(s string) bool {
	const most = 256
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func isBearer(protocol string) bool {
	const prefix = "bearer."
	return len(protocol) >= len(prefix) && strings.EqualFold(protocol[:len(prefix)], prefix)
}

// hijacker lets gorilla hijack the innermost ResponseWriter: the recorders
// that logging and metrics put around it would live as long as the WebSocket,
// and race with it. What gorilla writes, the head, is kept.
type hijacker struct {
	http.ResponseWriter
	r    *http.Request
	conn net.Conn
	head bytes.Buffer
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if h.r.Method == http.MethodConnect {
		h.conn = newStream(h.ResponseWriter, h.r)
		return headWriter{h.conn, h}, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
	}
	nc, rw, err := http.NewResponseController(innermost(h.ResponseWriter)).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = nc
	return headWriter{nc, h}, rw, nil
}

// headWriter is the connection as gorilla sees it.
type headWriter struct {
	net.Conn
	h *hijacker
}

func (w headWriter) Write(p []byte) (int, error) { return w.h.head.Write(p) }

// Close is left to handshake.
func (w headWriter) Close() error { return nil }

func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = u.Unwrap()
	}
}
