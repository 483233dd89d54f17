package engine

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/guard"
)

// crossingTime is how long a POST that closes its session waits for the GET
// that the client sent before it on another connection.
const crossingTime = 250 * time.Millisecond

// noopDelay is how long a poll waits for messages while an upgrade is in
// progress. The client goes on with the upgrade when its poll is answered; at
// once would make it spin.
const noopDelay = 50 * time.Millisecond

// poll is a pending GET.
type poll struct {
	answer    chan []*Frames // gets one answer; nil: the transport is not polling anymore
	upgrading chan struct{}  // closed when an upgrade begins
}

// hurry has the GET answered soon even if there is nothing for it.
func (p *poll) hurry() {
	select {
	case <-p.upgrading:
	default:
		close(p.upgrading)
	}
}

// openPolling answers a handshake: the open packet, and what the handler has
// sent already.
func (q *request) openPolling() {
	if !q.admit() {
		return
	}
	defer q.done()
	s := q.server.openSession(q, EngineIO)
	if s == nil {
		q.server.handshaken(failed)
		q.logRefusal(failed, "no session could be opened", "")
		q.refuse(errBusy)
		return
	}
	q.server.handshaken(accepted)
	s.mu.Lock()
	frames := s.takeLocked()
	s.mu.Unlock()
	q.writePayload(frames)
}

// takeLocked takes everything from the outbox.
func (s *Session) takeLocked() []*Frames {
	s.unholdLocked()
	frames := s.outbox[s.head:]
	s.outbox, s.head, s.offset, s.queued, s.marked = nil, 0, 0, 0, 0
	return frames
}

// writePayload answers a GET with the messages.
func (q *request) writePayload(frames []*Frames) {
	if frames == nil {
		q.refuse(errRequest)
		return
	}
	size := 0
	for _, f := range frames {
		size += f.Len() + f.Len()/2
	}
	body := make([]byte, 0, size)
	for _, f := range frames {
		body = f.appendPolling(body)
	}
	q.write("text/plain; charset=UTF-8", body)
}

func (q *request) write(contentType string, body []byte) {
	h := q.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	q.w.WriteHeader(http.StatusOK)
	q.server.Hold(budget.Outboxes, len(body))
	defer q.server.Hold(budget.Outboxes, -len(body))
	// The client is gone if this fails, which its next request does not tell:
	// Engine.IO polling is at most once.
	_, _ = q.w.Write(body)
}

// poll answers a GET as soon as there is something for the client.
func (q *request) poll() {
	s := q.session
	p := &poll{answer: make(chan []*Frames, 1), upgrading: make(chan struct{})}
	if overlap := s.startPoll(p); overlap {
		q.w.WriteHeader(http.StatusBadRequest)
		return
	}
	select {
	case frames := <-p.answer:
		q.writePayload(frames)
		return
	case <-q.r.Context().Done():
		if s.stopPoll(p) {
			s.fail(TransportError, ws.CloseNoStatus)
			return
		}
	case <-p.upgrading:
		timer := time.NewTimer(noopDelay)
		defer timer.Stop()
		select {
		case frames := <-p.answer:
			q.writePayload(frames)
			return
		case <-q.r.Context().Done():
			if s.stopPoll(p) {
				s.fail(TransportError, ws.CloseNoStatus)
				return
			}
		case <-timer.C:
			if s.stopPoll(p) {
				q.writePayload([]*Frames{noopPacket})
				return
			}
		}
	}
	q.writePayload(<-p.answer)
}

// startPoll makes p the pending GET, which may be answered at once. A second
// one at a time ends the session: the order of their messages would be undefined.
func (s *Session) startPoll(p *poll) (overlap bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poll != nil {
		s.failLocked(TransportError, ws.CloseNoStatus)
		return true
	}
	if s.probe != nil {
		p.hurry()
	}
	s.poll = p
	switch {
	case !s.polls(): // an upgrade was completed since the request was checked
		s.poll = nil
		p.answer <- nil
	case s.head < len(s.outbox):
		polling{s}.answer()
	case !s.state.isOpen():
		s.poll = nil
		if s.reason == TransportClose { // the client said it first
			p.answer <- []*Frames{noopPacket}
		} else {
			p.answer <- []*Frames{noopPacket, closePacket}
		}
		s.advanceLocked(dismissed)
		s.lingerDue = 0
		if s.post != nil && s.post.ended != nil { // it waits for this GET
			close(s.post.ended)
			s.post = nil
		}
		go s.hangUp()
	}
	return false
}

// left ends the session of a client that sent the close packet. Its GET, if
// none is pending, may still be on its way: see awaitLastPoll.
func (s *Session) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poll != nil || !s.state.isOpen() {
		s.failLocked(TransportClose, ws.CloseNoStatus)
		return
	}
	s.endLocked(TransportClose, closing, nil)
	s.post = &post{ended: make(chan struct{})}
}

// awaitLastPoll waits for the GET that crosses the POST with the close packet
// on another connection. In the other order it would have got the noop packet,
// and in this one it must not find the session unknown.
func (q *request) awaitLastPoll() {
	s := q.session
	s.mu.Lock()
	p := s.post
	waits := p != nil && p.ended != nil && s.state == closing && s.reason == TransportClose
	s.mu.Unlock()
	if !waits {
		return
	}
	timer := time.NewTimer(crossingTime)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		s.hangUp()
	case <-q.r.Context().Done():
		s.hangUp()
	}
}

// stopPoll reports whether p was still unanswered, and forgets it.
func (s *Session) stopPoll(p *poll) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poll != p {
		return false
	}
	s.poll = nil
	return true
}

// polling is the transport of a session whose client asks for its messages. The
// pending GET is the session's, since it may outlive an upgrade.
type polling struct{ s *Session }

// blocked implements transport.
func (t polling) blocked() bool { return t.s.poll == nil }

// flush implements transport.
func (t polling) flush(*Batch) {
	t.answer()
	t.s.holdLocked()
	t.s.watchLocked()
}

// answer gives what is queued to the pending GET, if there is one.
func (t polling) answer() {
	if s := t.s; s.poll != nil && s.head < len(s.outbox) {
		s.poll.answer <- s.takeLocked()
		s.poll = nil
	}
}

// end implements transport. A pending GET gets what is queued. If the server
// closes, the client may also fetch that later; its next GET then gets the close
// packet.
func (t polling) end(*Frames) {
	s := t.s
	switch {
	case s.poll == nil:
		return
	case s.head < len(s.outbox):
		t.answer()
		return
	}
	packet := closePacket
	if s.reason == TransportClose {
		packet = noopPacket // the client said it first
	}
	s.poll.answer <- []*Frames{packet}
	s.poll = nil
	s.advanceLocked(dismissed)
}

// lingers implements transport: the client may fetch what is queued.
func (t polling) lingers() time.Duration {
	if t.s.state > closing {
		return 0
	}
	return pollingCloseTimeout
}

// resume implements transport: a POST waits by itself, see await.
func (polling) resume(instant) (until instant) { return 0 }

// close implements transport: there is no connection.
func (polling) close() {}

// post handles a POST: a payload of packets.
func (q *request) post() {
	s := q.session
	p := s.startPost(q.w)
	if p == nil {
		q.w.WriteHeader(http.StatusBadRequest)
		return
	}
	if q.r.Header.Get("Content-Type") == "application/octet-stream" {
		s.endPost(p)
		s.fail(TransportError, ws.CloseNoStatus)
		q.w.WriteHeader(http.StatusBadRequest)
		return
	}
	buf := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(buf)
	buf.Reset()
	if q.r.ContentLength != 1 { // else it is a pong, or the end
		s.await(0, maxDelay, true)
	}
	err := q.readBody(buf)
	s.Spend(nil, budget.Bytes, buf.Len())
	switch {
	case err == nil && s.payload(p, buf.Bytes()):
		q.awaitLastPoll()
		q.write("text/html", []byte("ok"))
	case !s.endPost(p):
		q.destroy()
	case errors.Is(err, errBodyTooBig):
		q.w.WriteHeader(http.StatusRequestEntityTooLarge)
	default:
		s.fail(TransportError, ws.CloseNoStatus)
		q.w.WriteHeader(http.StatusBadRequest)
	}
}

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// post is a POST whose body is being read, or one that has closed the session
// and waits for its last GET.
type post struct {
	rc         *http.ResponseController
	ended      chan struct{} // closed by the session's last GET; nil unless the POST waits for that
	overlapped bool          // another came meanwhile
}

// startPost notes that a POST is being read; it is nil if there must not be one.
// A second one at a time ends the session, and the first.
func (s *Session) startPost(w http.ResponseWriter) *post {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.isOpen() && s.reason == TransportClose {
		return nil // the client has left
	}
	if s.post != nil {
		s.post.overlapped = true
		// Its reader finds out at once; if deadlines are not supported, at
		// the end of the body.
		_ = s.post.rc.SetReadDeadline(time.Unix(1, 0))
		s.failLocked(TransportError, ws.CloseNoStatus)
		return nil
	}
	s.post = &post{rc: http.NewResponseController(innermost(w))}
	return s.post
}

// endPost lets the next POST begin, and reports whether p was the only one. It
// may be called again.
func (s *Session) endPost(p *post) (alone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.post == p {
		s.post = nil
	}
	return !p.overlapped
}

var errBodyTooBig = errors.New("body or message too big")

// readBody reads a body of about MaxPayload bytes at most, in time. The stock
// client puts as many packets into one as fit by its estimate, in which base64
// makes binary messages 1.33 times as long: a hundredth is allowed for that, and
// no message alone may be too long.
func (q *request) readBody(buf *bytes.Buffer) error {
	payload := q.session.config.MaxPayload
	limit := int64(payload + payload/100)
	if q.r.ContentLength > limit {
		return errBodyTooBig
	}
	// Only ever earlier than the server's own limit, and never taken back:
	// in Caddy a zero time would install another limit. Where deadlines are
	// not supported, the server's limit remains.
	_ = http.NewResponseController(q.w).SetReadDeadline(time.Now().Add(q.session.config.InputTimeout))
	size := q.r.ContentLength
	if size < 0 {
		size = limit
	}
	q.server.Hold(budget.Input, int(size))
	defer q.server.Hold(budget.Input, -int(size))
	n, err := buf.ReadFrom(io.LimitReader(q.r.Body, limit+1))
	if n > limit || n > int64(payload) && hasLonger(buf.Bytes(), payload) {
		return errBodyTooBig
	}
	return err
}

// hasLonger reports whether a payload has a text packet of more than limit
// bytes. A binary one is shorter than its base64.
func hasLonger(body []byte, limit int) bool {
	for packet := range bytes.SplitSeq(body, []byte{separator}) {
		if len(packet) > limit && packet[0] != packetBinary {
			return true
		}
	}
	return false
}

// destroy cuts the connection without an answer.
func (q *request) destroy() {
	c, _, err := http.NewResponseController(innermost(q.w)).Hijack()
	if err != nil { // HTTP/2 and 3
		q.w.WriteHeader(http.StatusBadRequest)
		return
	}
	// Nothing is expected of it anymore.
	_ = c.Close()
}

// payload hands the packets of a POST to the receiver; not, if another one came
// meanwhile. The next may begin when this one has its turn, no sooner: it could
// overtake. It returns when all are handled, however long their client has to
// wait for its turn; if an upgrade begins meanwhile, it leaves the rest to a
// goroutine, since the client upgrades only when it has got its answer.
func (s *Session) payload(p *post, body []byte) (alone bool) {
	b := NewBatch()
	s.enter()
	rest, alone := s.packets(b, p, body)
	if rest == nil {
		s.leave(b)
		b.Flush()
		return alone
	}
	done := make(chan struct{})
	s.mu.Lock()
	s.rest = done
	s.mu.Unlock()
	go s.finishPayload(b, bytes.Clone(rest), done)
	return true
}

// finishPayload handles the rest of a payload, with input held, which it
// releases. Then it closes done.
func (s *Session) finishPayload(b *Batch, rest []byte, done chan<- struct{}) {
	defer s.server.caught("payload", s)
	defer close(done)
	defer b.Flush()
	defer s.leave(b)
	guard.Fault("payload")
	s.server.Hold(budget.Input, len(rest))
	defer s.server.Hold(budget.Input, -len(rest))
	s.packets(b, nil, rest)
}

// packets handles the packets of a POST. It returns those that are left when an
// upgrade begins while they wait, nil without p; alone is as of endPost.
func (s *Session) packets(b *Batch, p *post, body []byte) (rest []byte, alone bool) {
	defer s.server.caught("receiver", s)
	if p != nil && !s.endPost(p) {
		return nil, false
	}
	guard.Fault("receiver")
	b.now = s.server.now()
	s.mu.Lock()
	s.touchLocked()
	s.mu.Unlock()
	for i, more := 0, true; more && s.isOpen(); i++ {
		if i%framesUnasked == 0 {
			b.now = s.server.now()
		}
		// The first has waited for its turn with the POST.
		if (i > 0 || p == nil) && isMessage(body) && s.owes(b.now) {
			b.write()
			if upgrading := s.await(b.cost, 0, p != nil); upgrading {
				return body, true
			}
			b.now = s.server.now()
		}
		var packet []byte
		packet, body, more = bytes.Cut(body, []byte{separator})
		b.cost = 0
		s.packetOrEnd(b, packet)
	}
	return nil, true
}

// isMessage reports whether a payload begins with a message. The rest, such as
// pongs, does not wait.
func isMessage(body []byte) bool {
	return len(body) > 0 && (body[0] == packetText || body[0] == packetBinary)
}

// packetOrEnd takes one packet of a POST. Input is held.
func (s *Session) packetOrEnd(b *Batch, packet []byte) {
	switch err := s.packet(b, packet); {
	case err == nil:
	case errors.Is(err, errLeft):
		s.left()
	case errors.Is(err, errParse):
		s.fail(ParseError, ws.CloseNoStatus)
	default:
		s.fail(TransportError, ws.CloseNoStatus)
	}
}
