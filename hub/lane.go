package hub

import (
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/guard"
)

// The lane of a socket runs its calls one after another, in the order in
// which the events came, on whatever goroutine brings the next one. A call
// that holds the lane lets the others wait; it never blocks a goroutine.

// enter runs c, or lets it wait for the calls before it.
func (s *Socket) enter(b *engine.Batch, c *call) {
	s.mu.Lock()
	if s.standing != present && c.kind != disconnectCall { // it crossed with our disconnecting it
		s.mu.Unlock()
		c.free()
		return
	}
	if !s.running {
		s.running = true
		s.mu.Unlock()
		s.drain(b, c)
		return
	}
	size := c.event.Args.Len()
	conf := s.ns.hub.config.Load()
	if c.kind == eventCall && (len(s.waiting) >= conf.WaitingEvents || s.bytes+size > conf.WaitingBytes) {
		s.mu.Unlock()
		s.refuse(b, c.event.Name, c.packet.ID, &Refusal{Code: Busy, Message: "Too many events are waiting"})
		c.free()
		return
	}
	c.own()
	s.waiting = append(s.waiting, c)
	s.bytes += size
	s.ns.hub.engine.Hold(budget.Waiting, size+eventCost)
	s.mu.Unlock()
}

// drain runs c and what waits behind it, until a call holds the lane.
func (s *Socket) drain(b *engine.Batch, c *call) {
	for c != nil && s.run(b, c) {
		c = s.next()
	}
}

// next takes the call that waits longest; nil, and the lane is free, if none.
func (s *Socket) next() *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) > 0 {
		c := s.waiting[0]
		s.waiting = s.waiting[1:]
		size := c.event.Args.Len()
		s.bytes -= size
		s.ns.hub.engine.Hold(budget.Waiting, -size-eventCost)
		if s.standing != expelled || c.kind == disconnectCall {
			if c.view.identity == nil { // it came before the client was known
				c.view.identity = s.identity.Load()
			}
			return c
		}
		c.free()
	}
	s.waiting, s.running, s.bytes = nil, false, 0
	return nil
}

// discard forgets what waits on a socket that did not join.
func (s *Socket) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ns.hub.engine.Hold(budget.Waiting, -s.bytes-len(s.waiting)*eventCost)
	s.waiting, s.bytes = nil, 0
}

// run gives c to the policy and reports whether the lane may go on.
func (s *Socket) run(b *engine.Batch, c *call) bool {
	c.b = b
	c.dispatch()
	if !c.suspended {
		c.free()
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.returned = true
	return !c.held || c.over
}

// dispatch calls the policy.
func (c *call) dispatch() {
	defer c.endAnyway()
	defer c.recoverPanic()
	guard.Fault("rule")
	n := c.socket.ns
	p := n.policy()
	switch c.kind {
	case connectCall:
		c.restoreState()
		p.Connect(c)
	case eventCall, refreshCall:
		p.Event(c)
	case disconnectCall:
		defer n.hub.release(n)
		c.socket.stopAllTyping(c.b)
		p.Disconnect(c)
	}
}

// endAnyway ends a call that the policy neither ended nor suspended, as if it
// had refused.
func (c *call) endAnyway() {
	if !c.suspended && !c.ended {
		c.End(&Refusal{Code: ProcessingError, Message: "Internal error"})
	}
}
