package hub

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

// Refusals of CONNECT.
var (
	errNoNamespace        = &Refusal{Code: Invalid, Message: "Invalid namespace", Cause: errors.New("no such namespace is configured")}
	errConnected          = &Refusal{Code: Invalid, Message: "Already connected"}
	errNamespacesOfClient = &Refusal{Code: Limit, Message: "Too many namespaces", Cause: errors.New("of one connection")}
)

var mainNamespace = []byte("/")

// client is the sockets of one session. It is the session's engine.Receiver.
type client struct {
	// Static after construction.
	hub     *Hub
	session *engine.Session
	opening *Opening
	codec   codecID

	// Owned by the reader.
	decoder parser.Decoder
	partial *time.Timer // runs while a packet waits for its attachments
	held    int32       // bytes of that packet, counted as memory
	silent  bool        // a plain client that has to say who it is first

	connects budget.Bucket

	// mu guards the table of sockets. Most clients have one, in sockets[0].
	// A socket that the server removed stays in it until the client connects
	// to that namespace again: what the client sent before it knew is ignored.
	mu      sync.Mutex
	sockets []*Socket
	closed  bool
	logins  int32          // Authenticators that run for it
	user    *auth.Identity // the first that a socket had, for whom the connection counts
}

// Message handles one message from the session.
func (c *client) Message(b *engine.Batch, data []byte, binary bool) {
	// Decoded into a call, which is where an event's packet is needed.
	run := calls.Get().(*call)
	p := &run.packet
	done, err := c.decoder.Decode(data, binary, p)
	c.watchPartial(!done && err == nil)
	if err != nil {
		defer run.free()
		c.wrong(b, p, done, err)
		return
	}
	if c.silent && done {
		c.firstPlain(b, p)
	}
	if done && p.Type == parser.Event {
		if s := c.socket(p.Namespace); s != nil {
			s.event(b, run)
			return
		}
	}
	defer run.free()
	if done {
		c.packet(b, p)
	}
}

// wrong handles a message that the decoder found fault with, and with complete
// the packet that is to be refused.
func (c *client) wrong(b *engine.Batch, p *parser.Packet, complete bool, err error) {
	switch {
	case !complete && c.codec == plainJSON:
		c.rejectPlain(err)
	case !complete:
		c.violation("invalid packet", err)
	case !c.mayHandle(b, p):
	case c.codec == plainJSON:
		c.refusePlain(b, p, refusalOf(err))
	default:
		c.refusePacket(b, p, refusalOf(err))
	}
}

// watchPartial gives a packet that has begun a time to be completed in, and
// counts what there is of it.
func (c *client) watchPartial(begun bool) {
	switch {
	case begun:
		if c.partial == nil {
			c.partial = time.AfterFunc(c.hub.config.Load().Engine.InputTimeout, func() { c.hub.guard("partial packet", c.session, c.abandon) })
		}
		held := int32(c.decoder.Held())
		c.hub.engine.Hold(budget.Input, int(held-c.held))
		c.held = held
	case c.partial != nil:
		c.partial.Stop()
		c.partial = nil
		c.hub.engine.Hold(budget.Input, -int(c.held))
		c.held = 0
	}
}

// abandon ends a session whose packet was not completed in time.
func (c *client) abandon() { c.session.Close(engine.TransportError) }

// packet handles a packet that is no event, or an event for a namespace that
// the client is not in.
func (c *client) packet(b *engine.Batch, p *parser.Packet) {
	if !c.mayHandle(b, p) {
		return
	}
	s := c.socket(p.Namespace)
	switch p.Type {
	case parser.Connect, parser.PlainAuth: // PlainAuth: to the main namespace
		if c.codec == plainJSON && s != nil && !s.isGone() {
			c.refusePlain(b, p, wrongNamespace(p, "already connected"))
			return
		}
		c.connect(b, p.Namespace, p.Data)
		return
	case parser.PlainPing:
		c.send(b, parser.Packet{Type: parser.PlainPong, Data: p.Data})
		return
	}
	switch {
	case s == nil && c.codec == plainJSON:
		c.refusePlain(b, p, wrongNamespace(p, "not connected"))
		return
	case s == nil:
		c.violation("not in the namespace", nil)
		return
	}
	switch p.Type {
	case parser.Ack:
		s.answerAsk(b, p.ID, p.Args, nil)
	case parser.Disconnect:
		c.forget(s)
		s.leave(b, "client namespace disconnect")
	default:
		c.violation("packet only servers send", nil)
	}
}

// mayHandle counts a packet that is not an event of one of the client's sockets,
// and reports whether it may be sent. If not, its session ends. While a session is about to
// end, the client has to try in another one what it could not do in this one.
func (c *client) mayHandle(b *engine.Batch, p *parser.Packet) bool {
	c.session.Spend(b, budget.Events, 1)
	leaving := c.session.Leaving()
	if leaving && (p.Type == parser.Connect || c.socket(p.Namespace) == nil) {
		return false
	}
	if p.Type != parser.Connect || c.mayConnect(b) {
		return true
	}
	if !leaving {
		c.logRefusal("packet", shortName(p.Namespace), nil, errTooManyConnects)
		c.session.CloseSoon()
	}
	return false
}

// refusePacket answers a Socket.IO packet that is wrong by an honest mistake.
func (c *client) refusePacket(b *engine.Batch, p *parser.Packet, r *Refusal) {
	if p.Type == parser.Connect {
		c.logRefusal("connect", shortName(p.Namespace), nil, r)
		if r.Code == TooLarge { // the name
			r = errNoNamespace
		}
		c.refuseConnect(b, p.Namespace, r)
		if r != errNoNamespace {
			c.violation("CONNECT without an object", nil) // as the protocol demands; the client knows why
		}
		return
	}
	s := c.socket(p.Namespace)
	switch {
	case s == nil:
		c.violation("not in the namespace", nil)
	case p.Type == parser.Ack:
		s.answerAsk(b, p.ID, parser.Args{}, r)
	default:
		s.refuse(b, string(p.Name), p.ID, r)
	}
}

// refusalOf is the refusal of a packet that the decoder found fault with.
func refusalOf(err error) *Refusal {
	r := &Refusal{Code: Invalid, Message: err.Error()}
	switch {
	case errors.Is(err, parser.ErrReserved):
		r.Code = Forbidden
	case errors.Is(err, parser.ErrTooLarge), errors.Is(err, parser.ErrTooManyAttachments):
		r.Code = TooLarge
	}
	return r
}

// shortName is a namespace as a log may show it.
func shortName(namespace []byte) string {
	return string(namespace[:min(len(namespace), parser.MaxNamespace)])
}

// Closed disconnects all sockets of a session that ended.
func (c *client) Closed(b *engine.Batch, reason engine.Reason) {
	c.watchPartial(false)
	c.mu.Lock()
	c.closed = true
	sockets := c.sockets
	c.sockets = nil
	c.mu.Unlock()
	c.releaseUser() // first: a client that comes back to one of the sockets is not refused for it
	for _, s := range sockets {
		s.leave(b, string(reason))
	}
	if w := c.opening.Observer; w != nil {
		w.Ended(string(reason))
	}
}

// violation ends a session that broke the protocol.
func (c *client) violation(what string, err error) {
	c.hub.log().Debug("protocol violation", "what", what, "error", err, "remote_ip", c.session.Handshake().RemoteIP)
	c.session.Close(engine.ForcedClose)
}

func (c *client) socket(namespace []byte) *Socket {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sockets {
		if s.ns.name == string(namespace) {
			return s
		}
	}
	return nil
}

// adopt puts s into the table, unless the session is closed, or the client has
// a live socket in that namespace or too many.
func (c *client) adopt(s *Socket, limit int) *Refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errConnected // nobody hears it
	}
	for i, old := range c.sockets {
		if old.ns.name == s.ns.name {
			if !old.isGone() {
				return errConnected
			}
			c.sockets[i] = s
			return nil
		}
	}
	if len(c.sockets) >= limit {
		// The client has been told of those that are gone long ago.
		c.sockets = slices.DeleteFunc(c.sockets, (*Socket).isGone)
	}
	if len(c.sockets) >= limit {
		return errNamespacesOfClient
	}
	c.sockets = append(c.sockets, s)
	return nil
}

func (c *client) forget(s *Socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.sockets {
		if c.sockets[i] == s {
			c.sockets = append(c.sockets[:i:i], c.sockets[i+1:]...)
			return
		}
	}
}

func (s *Socket) isGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != stateOpen
}

// connect answers a CONNECT: namespace, identity, then the policy, which
// decides. What the policy sent follows the answer, and what the client sent
// meanwhile waits for it.
func (c *client) connect(b *engine.Batch, namespace, payload []byte) {
	if s, a := c.begin(b, namespace, payload); s != nil {
		s.identify(b, a, payload)
	}
}

// begin makes a socket that has yet to be let in, and says who authenticates
// it, if anybody. It is nil if the answer is no.
func (c *client) begin(b *engine.Batch, namespace, payload []byte) (*Socket, Authenticator) {
	ns, busy := c.hub.acquire(namespace)
	switch {
	case busy:
		c.logRefusal("connect", string(namespace), nil, errTooManyNamespaces)
		c.session.CloseSoon()
		return nil, nil
	case ns == nil:
		c.logRefusal("connect", string(namespace), nil, errNoNamespace)
		c.refuseConnect(b, namespace, errNoNamespace)
		return nil, nil
	}
	a := ns.spec.Load().Auth
	s := &Socket{
		id: newSocketID(), ns: ns, auth: publicAuth(payload),
		running: true, // its connect call does, from now on

		recovery: ns.newRecoverable(c, payload),
	}
	s.via.Store(c)
	if r := c.adopt(s, c.hub.config.Load().NamespacesPerClient); r != nil {
		c.hub.release(ns)
		c.logRefusal("connect", ns.name, nil, r)
		switch {
		case r == errConnected:
			c.violation("CONNECT twice", nil)
		case !c.connects.Take(connects, 1, c.session.Now(b)): // also where CONNECTs are not limited
			c.violation("namespace after namespace", nil)
		default:
			c.refuseConnect(b, namespace, r)
		}
		return nil, nil
	}
	s.mu.Lock()
	s.keepLocked(len(s.auth))
	s.mu.Unlock()
	return s, a
}

func (c *client) refuseConnect(b *engine.Batch, namespace []byte, r *Refusal) {
	data := object("message", r.Message)
	switch {
	case c.codec == plainJSON:
		data = object("code", string(r.Code), "message", r.Message)
	case r.Code == Limit: // an app may want to tell it from other refusals
		data = fmt.Appendf(data[:len(data)-1], `,"data":%s}`, object("code", string(r.Code)))
	}
	c.send(b, parser.Packet{Type: parser.ConnectError, ID: parser.NoID, Namespace: namespace, Data: data})
}

// send sends a packet that belongs to no socket, or not yet.
func (c *client) send(b *engine.Batch, p parser.Packet) {
	o := newOutgoing(p)
	defer o.free()
	o.deliver(b, c.session, c.codec)
}

// disconnectAll leaves every namespace and ends the session.
func (c *client) disconnectAll(b *engine.Batch) {
	c.mu.Lock()
	sockets := append([]*Socket(nil), c.sockets...)
	c.mu.Unlock()
	for _, s := range sockets {
		s.kick(b)
	}
	c.session.Close(engine.ForcedClose)
}

// publicAuth copies the auth object of a CONNECT without what proves an identity:
// the token, whether or not this namespace verifies it, and the pair that claims
// an earlier session. It is nil if nothing is left.
func publicAuth(payload []byte) []byte {
	var out []byte
	for it := rawjson.Object(payload); payload != nil && it.Next(); {
		if secretKey(it.Key()) {
			continue
		}
		out = append(out, ',')
		out = append(append(append(out, it.Key()...), ':'), it.Value()...)
	}
	if out == nil {
		return nil
	}
	out[0] = '{'
	return bytes.Clone(append(out, '}'))
}

func secretKey(quoted []byte) bool {
	return rawjson.EqualString(quoted, "token") || rawjson.EqualString(quoted, "pid") || rawjson.EqualString(quoted, "offset")
}

// object is a JSON object of strings: keys and values in turn.
func object(members ...string) []byte {
	var out []byte
	for i, text := range members {
		separator := byte(',')
		switch {
		case i == 0:
			separator = '{'
		case i%2 == 1:
			separator = ':'
		}
		out = rawjson.AppendQuote(append(out, separator), text)
	}
	return append(out, '}')
}
