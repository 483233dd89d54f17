package hub

import (
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/parser"
)

// Ack is the Action of answering the client's acknowledgement callback, if it
// asked for an answer. Only the first Ack of a call does anything.
type Ack struct{ Args parser.Args }

func (a *Ack) perform(c *call) *Refusal {
	c.ack(a.Args)
	return nil
}

func (c *call) ack(a parser.Args) {
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

// Ignore is the Action that ends answering: the hub acknowledges nothing, not
// even the end of the call.
type Ignore struct{}

func (*Ignore) perform(c *call) *Refusal {
	c.ignore()
	return nil
}

func (c *call) ignore() {
	if c.first != nil && !c.acked {
		c.first.ignored = true
	}
	c.acked = true
}
