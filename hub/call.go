package hub

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/guard"
	"github.com/caddy-realtime/realtime/parser"
)

type callKind uint8

const (
	connectCall callKind = iota
	eventCall
	refreshCall // an auth-refresh that has taken effect
	disconnectCall
)

// call is one run of a policy for one socket. It implements Call.
type call struct {
	socket *Socket
	peer   peer // the socket, as the call sees it
	kind   callKind
	packet parser.Packet // the client's event; its slices alias the message until own
	reason string        // of a disconnect

	b         *engine.Batch // nil when nobody is about to flush one for us
	suspended bool
	acked     bool       // answered, or not to be answered
	deferred  []func()   // of a connect call: what takes effect once it passed
	joins     []Address  // of a connect call: the rooms that it will join, each once
	first     *firstCall // of a call that runs for others with its key, see Once
	kept      int        // bytes that the policy keeps

	// Guarded by socket.mu once the call is suspended.
	held     bool // later events wait for the end
	returned bool // the policy's method did
	ended    bool // End was called
	over     bool // and the client was told
}

var calls = sync.Pool{New: func() any { return new(call) }}

// peer is a socket with the identity that it had when an event came.
type peer struct {
	*Socket
	identity *auth.Identity // nil if anonymous
}

// User is the JSON object of the user's claims, nil if anonymous.
func (p *peer) User() []byte {
	if p.identity == nil {
		return nil
	}
	return p.identity.Claims
}

// newCall returns a call that is not about an event from the client.
func newCall(s *Socket, kind callKind) *call {
	c := &call{packet: parser.Packet{ID: parser.NoID}}
	c.of(s, kind)
	return c
}

// of makes c a call of s as it is now.
func (c *call) of(s *Socket, kind callKind) {
	c.socket, c.kind = s, kind
	c.peer = peer{s, s.identity.Load()}
}

func (c *call) free() {
	*c = call{}
	calls.Put(c)
}

// event runs the policy for the event in c.packet, which the client sent.
func (s *Socket) event(b *engine.Batch, c *call) {
	s.ns.hub.counts.events.Add(1)
	s.session().Spend(b, budget.Events, 1)
	if reservedEvent(c.packet.Name) {
		s.refuse(b, string(c.packet.Name), c.packet.ID, &Refusal{Code: Forbidden, Message: "Reserved event name"})
		c.free()
		return
	}
	if string(c.packet.Name) == authRefresh {
		s.refresh(b, c)
		return
	}
	c.of(s, eventCall)
	s.enter(b, c)
}

// reservedEvent reports whether only the server may send events of that name.
// The names that Socket.IO itself reserves do not pass the parser.
func reservedEvent(name []byte) bool {
	return string(name) == "error" || string(name) == tokenExpired
}

// Name is the event's name.
func (c *call) Name() string {
	switch c.kind {
	case connectCall:
		return "connect"
	case disconnectCall:
		return "disconnect"
	}
	// Valid as long as the bytes are, which Call promises and no longer: an
	// event costs no allocation for its name.
	return unsafe.String(unsafe.SliceData(c.packet.Name), len(c.packet.Name))
}

func (c *call) Args() parser.Args { return c.packet.Args }
func (c *call) Reason() string    { return c.reason }
func (c *call) Peer() Peer        { return &c.peer }

// Expelled reports whether the call is over because the server disconnected
// the socket. A disconnect call comes after that and goes on.
func (c *call) Expelled() bool {
	if c.kind == disconnectCall {
		return false
	}
	c.socket.mu.Lock()
	defer c.socket.mu.Unlock()
	return c.socket.standing == expelled
}

func (c *call) MemberCount(a Address) int { return c.socket.ns.memberCount(a) }

// Members lists the users in a plain room.
func (c *call) Members(a Address) []string {
	if a.Kind != Room || a.Name == "" {
		return nil
	}
	return c.socket.ns.hub.presence.Members(c.socket.ns.name, a.Name)
}

// Online lists the users in the namespace.
func (c *call) Online() []string {
	return c.socket.ns.hub.presence.Members(c.socket.ns.name, "")
}

// IsOnline reports whether the user is in the namespace.
func (c *call) IsOnline(user string) bool {
	return c.socket.ns.hub.presence.IsMember(c.socket.ns.name, "", user)
}

// Suspend lets the call end later, on any goroutine.
func (c *call) Suspend(hold bool) {
	c.b = nil
	if !c.suspended { // else others read it by now, and the call is our own already
		c.own()
		c.suspended = true
	}
	c.socket.mu.Lock()
	c.held = hold
	c.socket.mu.Unlock()
}

// Keep counts what the policy keeps for the call.
func (c *call) Keep(bytes int) { c.kept += bytes }

// size is what the call keeps while it waits, beside eventCost.
func (c *call) size() int { return c.packet.Args.Len() + c.kept }

// own makes the call independent of the message that it came with.
func (c *call) own() {
	c.packet.Name = bytes.Clone(c.packet.Name)
	c.packet.Args = c.packet.Args.Clone()
}

// batched calls f with a batch that will be flushed.
func (c *call) batched(f func(b *engine.Batch)) {
	if c.b != nil {
		f(c.b)
		return
	}
	b := engine.NewBatch()
	defer b.Flush()
	f(b)
}

// later runs f now or, in a connect call, once it has passed.
func (c *call) later(f func()) {
	if c.kind == connectCall {
		c.deferred = append(c.deferred, f)
		return
	}
	f()
}

// Join adds the socket to rooms.
func (c *call) Join(rooms []Address) *Refusal { return c.join(rooms, false) }

// JoinChosen adds the socket to rooms that its client chose.
func (c *call) JoinChosen(rooms []Address) *Refusal { return c.join(rooms, true) }

func (c *call) join(rooms []Address, chosen bool) *Refusal {
	if r := checkRooms(rooms); r != nil {
		return r
	}
	s := c.socket
	if c.kind != connectCall {
		if len(rooms) > 1 { // the event itself was counted as one
			s.session().Spend(c.b, budget.Events, len(rooms)-1)
		}
		return s.ns.join(s, rooms, chosen)
	}
	for _, a := range rooms {
		if !slices.Contains(c.joins, a) {
			c.joins = append(c.joins, a)
		}
	}
	if limit := s.ns.roomsPerSocket(); len(c.joins) > limit {
		return crowdedSocket(limit)
	}
	rooms = slices.Clone(rooms)
	c.later(func() { s.ns.join(s, rooms, chosen) }) // fits: they were counted
	return nil
}

// Leave removes the socket from rooms.
func (c *call) Leave(rooms []Address) *Refusal {
	if r := checkRooms(rooms); r != nil {
		return r
	}
	s := c.socket
	rooms = slices.Clone(rooms)
	c.later(func() {
		s.ns.leave(s, rooms)
		c.stopTyping(rooms)
	})
	return nil
}

// Emit sends an event.
func (c *call) Emit(e Emission) *Refusal {
	if r := e.Resolve(&c.peer); r != nil {
		return r
	}
	s := c.socket
	if c.kind == connectCall {
		e.Args = e.Args.Clone()
		e.To, e.Except = slices.Clone(e.To), slices.Clone(e.Except)
		c.deferred = append(c.deferred, func() {
			c.batched(func(b *engine.Batch) { s.emit(b, &e) })
		})
		return nil
	}
	if c.b != nil {
		s.emit(c.b, &e)
		return nil
	}
	c.batched(func(b *engine.Batch) { s.emit(b, &e) })
	return nil
}

// emit emits e on behalf of s, in its namespace or another.
func (s *Socket) emit(b *engine.Batch, e *Emission) {
	if e.Namespace == "" || e.Namespace == s.ns.name {
		s.ns.send(b, s, e)
		return
	}
	there := s.client().socket([]byte(e.Namespace)) // as which the sender is left out
	e.NotSelf = e.NotSelf && there != nil
	n := s.ns.hub.lookup(e.Namespace)
	if n == nil { // never used on this node
		s.ns.hub.publish(e.Namespace, there, e)
		return
	}
	n.spendAhead(b, s, e, e.Args.Len())
	e.paid = true
	n.send(b, there, e)
}

// send emits e on behalf of a socket, here first and then on other nodes.
func (n *Namespace) send(b *engine.Batch, from *Socket, e *Emission) {
	n.sendLocal(b, from, e)
	n.hub.publish(n.name, from, e)
}

func (n *Namespace) sendLocal(b *engine.Batch, from *Socket, e *Emission) {
	o := newOutgoing(parser.Packet{
		Type: parser.Event, ID: parser.NoID,
		Namespace: n.wire, Name: unsafe.Slice(unsafe.StringData(e.Event), len(e.Event)), // read only
		Args: e.Args,
	})
	defer o.free()
	o.volatile = e.Volatile
	n.emit(b, from, e, o)
}

// Batch collects an argument for one array a window.
func (c *call) Batch(window time.Duration, e Emission) *Refusal {
	if r := e.Resolve(&c.peer); r != nil {
		return r
	}
	s := c.socket
	item := e.Args.Clone()
	e.Args, e.Event = parser.Args{}, strings.Clone(e.Event)
	e.To, e.Except = ownAddresses(e.To), ownAddresses(e.Except)
	if c.kind == connectCall {
		c.deferred = append(c.deferred, func() {
			if r := s.ns.collect(s, window, e, item); r != nil {
				c.batched(func(b *engine.Batch) { s.refuse(b, c.Name(), parser.NoID, r) })
			}
		})
		return nil
	}
	return s.ns.collect(s, window, e, item)
}

// ownAddresses copies addresses whose names may alias a message.
func ownAddresses(list []Address) []Address {
	list = slices.Clone(list)
	for i := range list {
		list[i].Name = strings.Clone(list[i].Name)
	}
	return list
}

// Ack answers the client's acknowledgement callback.
func (c *call) Ack(a parser.Args) {
	if c.acked {
		return
	}
	c.acked = true
	if c.first != nil {
		c.first.answered, c.first.answer = true, a.Clone()
	}
	if c.packet.ID == parser.NoID {
		return
	}
	answer := parser.Packet{Type: parser.Ack, ID: c.packet.ID, Args: a}
	if c.b != nil {
		c.socket.send(c.b, answer)
		return
	}
	c.batched(func(b *engine.Batch) { c.socket.send(b, answer) })
}

// Ignore makes the call end without an answer.
func (c *call) Ignore() {
	if c.first != nil && !c.acked {
		c.first.ignored = true
	}
	c.acked = true
}

// Ask emits to the socket and goes on with then when it has answered. The
// clock starts when the question is encoded: then may make a invalid.
func (c *call) Ask(event string, a parser.Args, timeout time.Duration, then func(parser.Args, *Refusal)) {
	s := c.socket
	q := &ask{call: c, then: then}
	id, r := s.addAsk(q)
	if r != nil {
		then(parser.Args{}, r)
		return
	}
	b := engine.NewBatch()
	defer b.Flush()
	s.send(b, parser.Packet{Type: parser.Event, ID: id, Name: []byte(event), Args: a})
	s.startAsk(id, timeout)
}

// Set stores a value in socket.data.
func (c *call) Set(key string, value []byte) *Refusal {
	return c.socket.setData(key, value, c.socket.ns.hub.config.Load().DataBytes)
}

// Disconnect removes the socket, with closeAll its connection.
func (c *call) Disconnect(closeAll bool) {
	s := c.socket
	c.later(func() {
		c.batched(func(b *engine.Batch) {
			if closeAll {
				s.client().disconnectAll(b)
			} else {
				s.kick(b)
			}
		})
	})
}

// Worked counts time that the policy took, and lets others run if it was a stint.
func (c *call) Worked(d time.Duration) {
	c.socket.session().Spend(c.b, budget.CPU, int(d))
	if d >= Stint {
		c.socket.session().GiveWay(c.b)
	}
}

// End ends the call. The lane goes on when the client was told.
func (c *call) End(r *Refusal) {
	s := c.socket
	if !c.markEnded() {
		return
	}
	c.conclude(r)
	if c.first != nil {
		c.completeDedupe(r)
	}
	if c.markOver() {
		c.batched(func(b *engine.Batch) { s.drain(b, s.next()) })
	}
}

// markEnded reports whether this is the first End.
func (c *call) markEnded() bool {
	if c.suspended { // else only one goroutine knows the call
		c.socket.mu.Lock()
		defer c.socket.mu.Unlock()
	}
	first := !c.ended
	c.ended = true
	return first
}

// markOver reports whether the lane waits for the call.
func (c *call) markOver() bool {
	if !c.suspended {
		return false
	}
	c.socket.mu.Lock()
	defer c.socket.mu.Unlock()
	c.over = true
	return c.held && c.returned
}

// conclude gives a call that ended its outcome.
func (c *call) conclude(r *Refusal) {
	switch {
	case c.kind == connectCall:
		c.batched(func(b *engine.Batch) { c.concludeConnect(b, r) })
	case c.kind == disconnectCall:
		if r != nil { // there is no client left to answer
			c.socket.refused(c.Name(), r)
		}
	case r == nil && !c.acked:
		c.Ack(parser.Args{})
	case r != nil:
		id := c.packet.ID
		if c.acked { // answered already: it goes as an error event
			id = parser.NoID
		}
		c.batched(func(b *engine.Batch) { c.socket.refuse(b, c.Name(), id, r) })
	}
}

// concludeConnect answers CONNECT, and then does what the policy decided.
func (c *call) concludeConnect(b *engine.Batch, r *Refusal) {
	s := c.socket
	if r == nil {
		switch s.ns.add(s, func() { s.hello(b) }) {
		case gone:
			r = errNoNamespace
		case crowded:
			r = errTooManyConnections
		case behind:
			s.refused("connect", errBehind)
			s.turnAway(b, nil)
			s.session().CloseSoon()
			return
		}
	}
	if r != nil {
		s.refused("connect", r)
		s.turnAway(b, r)
		return
	}
	s.finishRecovery(b, true, false)
	s.watchExpiry(c.peer.identity)
	s.session().Established()
	s.ns.hub.log().Debug("socket joined", "socket_id", s.id, "user_id", s.UserID(), "namespace", s.ns.name, "remote_ip", s.session().Handshake().RemoteIP)
	for _, f := range c.deferred {
		f()
	}
}

// hello sends the CONNECT answer, and then what a recovered socket has missed:
// the stock client keeps events that come before CONNECT, does not count them as
// heard, and keeps them when the connection breaks; it would hear them again.
// The caller holds Namespace.mu: whoever ends the socket waits for it, and the
// witness hears of the end later.
func (s *Socket) hello(b *engine.Batch) {
	p := parser.Packet{Type: parser.Connect, ID: parser.NoID, Namespace: s.ns.wire, Data: s.connectData()}
	if s.client().codec == plainJSON && s.ns.name == "/" {
		p = s.plainOpen()
	}
	s.client().send(b, p)
	s.replay(b)
	if w := s.client().opening.Observer; w != nil {
		w.Joined(s.id, s.UserID())
	}
}

// resume goes on with a suspended call on the goroutine that flushes b.
func (c *call) resume(b *engine.Batch, f func()) {
	c.b = b // until it suspends again; from then on another goroutine may resume it
	defer c.recoverPanic()
	guard.Fault("rule")
	f()
}

// recoverPanic keeps a panic in a policy from doing more than refusing its event.
func (c *call) recoverPanic() {
	if p := recover(); p != nil {
		h := c.socket.ns.hub
		h.panics.Note(h.log(), "rule", p, "event", c.Name())
		c.End(&Refusal{Code: ProcessingError, Message: "Internal error"})
	}
}
