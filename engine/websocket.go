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
	if head.Len() > 0 { // a stream has sent its head already, and an empty one would be written for ever
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
