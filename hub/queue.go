package hub

import (
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/guard"
)

// The event queue of a socket runs its calls one after another, in the order in
// which the events came, on the goroutine that brings the next one. While a call
// holds the queue, the others wait in it; no goroutine is blocked.

// enqueue runs c, or lets it wait for the calls before it.
func (s *Socket) enqueue(b *engine.Batch, c *call) {
	s.mu.Lock()
	if s.state != stateOpen && c.kind != disconnectCall { // the event crossed with the disconnect
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

// drain runs c and the calls that wait after it, until one holds the queue.
func (s *Socket) drain(b *engine.Batch, c *call) {
	for c != nil && s.run(b, c) {
		c = s.dequeue()
	}
}

// dequeue takes the call that has waited longest; nil, and the queue is free, if
// there is none.
func (s *Socket) dequeue() *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) > 0 {
		c := s.waiting[0]
		s.waiting = s.waiting[1:]
		size := c.event.Args.Len()
		s.bytes -= size
		s.ns.hub.engine.Hold(budget.Waiting, -size-eventCost)
		if s.state != stateKicked || c.kind == disconnectCall {
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

// dropQueue drops the waiting calls of a socket that did not join.
func (s *Socket) dropQueue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ns.hub.engine.Hold(budget.Waiting, -s.bytes-len(s.waiting)*eventCost)
	s.waiting, s.bytes = nil, 0
}

// run gives c to the policy and reports whether the next call may run.
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
