package rules

import (
	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("ack", func() Action { return new(Ack) }) }

// Ack answers the client's acknowledgement callback, if it asked for an
// answer. Only the first one in a rule counts.
//
//	ack <arg>…
type Ack struct {
	// CEL expressions, as of emit.
	Args []string `json:"args,omitempty"`
}

func (s *Ack) parse(l *reader) error {
	for l.more() {
		e, err := l.expr("the argument")
		if err != nil {
			return err
		}
		s.Args = append(s.Args, e)
	}
	return nil
}

func (s *Ack) compile(c *compiler) error {
	if c.kind != eventRule {
		return errOnlyEvents
	}
	args, err := c.args(s.Args)
	if err != nil {
		return err
	}
	c.add(func(r *run) *hub.Refusal {
		answer, err := args.build(r)
		if err != nil {
			return asRefusal(err)
		}
		r.answer.Args = answer
		return r.call.Do(&r.answer)
	})
	return nil
}
