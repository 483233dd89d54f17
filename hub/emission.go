package hub

import (
	"slices"
	"unsafe"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/parser"
)

// Emission is the Action of sending an event. Args, To and Except are copied if
// they are kept.
type Emission struct {
	Event string
	Args  parser.Args
	// Namespace is the name of another namespace, where To and Except are
	// rooms and NotSelf means the socket that the connection has there; "" is
	// the calling socket's own.
	Namespace string
	// Scope says whether the targets are the socket itself, the rooms To, or the
	// whole namespace. Sockets in the rooms Except are no targets.
	Scope  Scope
	To     []Address
	Except []Address
	// NotSelf leaves the socket itself out.
	NotSelf  bool
	Volatile bool // dropped for sockets that cannot take it right now

	paid      bool // its cost was counted already
	transient bool // only of interest now: not kept for sockets that recover later
}

// Scope says how an Emission's targets are chosen.
type Scope uint8

const (
	ToSelf  Scope = iota // the calling socket only; To is ignored
	ToRooms              // the union of To, which may be empty
	ToAll                // the whole namespace
)

func (e *Emission) perform(c *call) *Refusal {
	out := *e
	if r := out.Resolve(&c.view); r != nil {
		return r
	}
	switch {
	case c.kind == connectCall:
		c.emitLater(out)
	case c.b != nil:
		c.socket.emit(c.b, &out)
	default:
		c.batched(func(b *engine.Batch) { c.socket.emit(b, &out) })
	}
	return nil
}

// emitLater emits e after the CONNECT answer.
func (c *call) emitLater(e Emission) {
	e.Args = e.Args.Clone()
	e.To, e.Except = slices.Clone(e.To), slices.Clone(e.Except)
	c.deferred = append(c.deferred, func() {
		c.batched(func(b *engine.Batch) { c.socket.emit(b, &e) })
	})
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
