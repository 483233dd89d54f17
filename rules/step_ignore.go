package rules

import (
	"errors"

	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("ignore", func() Action { return new(Ignore) }) }

// Ignore ends the rule; the client gets no answer, not even an empty
// acknowledgement.
//
//	ignore
type Ignore struct{}

func (*Ignore) parse(*reader) error { return nil }

func (*Ignore) compile(c *compiler) error {
	if c.kind == connectRule {
		return errors.New("a connect must be answered; require refuses it")
	}
	end := c.end
	c.add(func(r *run) *hub.Refusal {
		r.pc = *end
		return r.call.Do(&hub.Ignore{})
	})
	return nil
}
