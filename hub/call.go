package hub

import (
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
	view   view // the socket, as the call sees it
	kind   callKind
	packet parser.Packet // the client's event
	event  Event         // what the policy sees of it; aliases the message until own

	b         *engine.Batch // nil if the caller flushes none
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

// view is a socket with the identity that it had when an event came.
type view struct {
	*Socket
	identity *auth.Identity // nil if anonymous
}

// User is the JSON object of the user's claims, nil if anonymous.
func (v *view) User() []byte {
	if v.identity == nil {
		return nil
	}
	return v.identity.Claims
}

// newCall returns a call that no event from the client causes.
func newCall(s *Socket, kind callKind) *call {
	c := &call{packet: parser.Packet{ID: parser.NoID}}
	c.of(s, kind)
	return c
}

// of makes c a call of s as it is now.
func (c *call) of(s *Socket, kind callKind) {
	c.socket, c.kind = s, kind
	c.view = view{s, s.identity.Load()}
	c.event = Event{Namespace: s.ns.name, Args: c.packet.Args, Socket: &c.view}
	switch kind {
	case connectCall:
		c.event.Name = "connect"
	case disconnectCall:
		c.event.Name = "disconnect"
	default:
		// Valid as long as the bytes are, which Call promises and no longer: an
		// event costs no allocation for its name.
		c.event.Name = unsafe.String(unsafe.SliceData(c.packet.Name), len(c.packet.Name))
	}
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
	s.enqueue(b, c)
}

// reservedEvent reports whether only the server may send events of that name.
// The names that Socket.IO itself reserves do not pass the parser.
func reservedEvent(name []byte) bool {
	return string(name) == "error" || string(name) == tokenExpired
}

// Event is what the call is about.
func (c *call) Event() *Event { return &c.event }

// Directory is who is in the namespace.
func (c *call) Directory() Directory { return directory{c.socket.ns} }

// Do performs an action for the socket.
func (c *call) Do(a Action) *Refusal { return a.perform(c) }

// Kicked reports whether the server has disconnected the socket. A disconnect
// call, which comes after that, runs nevertheless.
func (c *call) Kicked() bool {
	if c.kind == disconnectCall {
		return false
	}
	c.socket.mu.Lock()
	defer c.socket.mu.Unlock()
	return c.socket.state == stateKicked
}

// Suspend lets the call end later, on any goroutine.
func (c *call) Suspend(hold bool) {
	c.b = nil
	if !c.suspended { // else another goroutine may read the event, which is a copy already
		c.own()
		c.suspended = true
	}
	c.socket.mu.Lock()
	c.held = hold
	c.socket.mu.Unlock()
}

// Keep counts what the policy keeps for the call.
func (c *call) Keep(bytes int) { c.kept += bytes }

// size is the bytes that the call keeps while it waits, in addition to eventCost.
func (c *call) size() int { return c.event.Args.Len() + c.kept }

// own makes the call independent of the message that it came with.
func (c *call) own() {
	c.event.Name = strings.Clone(c.event.Name)
	c.event.Args = c.event.Args.Clone()
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

// Worked counts time that the policy took, and lets others run if it was a stint.
func (c *call) Worked(d time.Duration) {
	c.socket.session().Spend(c.b, budget.CPU, int(d))
	if d >= Stint {
		c.socket.session().Yield(c.b)
	}
}

// End ends the call. The queue continues when the client has its answer.
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
		c.batched(func(b *engine.Batch) { s.drain(b, s.dequeue()) })
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

// markOver reports whether the queue waits for the call.
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
			c.socket.refused(c.event.Name, r)
		}
	case r == nil && !c.acked:
		c.ack(parser.Args{})
	case r != nil:
		id := c.packet.ID
		if c.acked { // answered already: it goes as an error event
			id = parser.NoID
		}
		c.batched(func(b *engine.Batch) { c.socket.refuse(b, c.event.Name, id, r) })
	}
}

// resume continues a suspended call on the goroutine that flushes b.
func (c *call) resume(b *engine.Batch, f func()) {
	c.b = b // until it suspends again; from then on another goroutine may resume it
	defer c.recoverPanic()
	guard.Fault("rule")
	f()
}

// recoverPanic turns a panic in a policy into a refusal of its event.
func (c *call) recoverPanic() {
	if p := recover(); p != nil {
		h := c.socket.ns.hub
		h.panics.Note(h.log(), "rule", p, "event", c.event.Name)
		c.End(&Refusal{Code: ProcessingError, Message: "Internal error"})
	}
}
