package rules

import (
	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("disconnect", func() Action { return new(Disconnect) }) }

// Disconnect removes the socket from the namespace and, unless the condition
// is false, closes the underlying connection. The rule continues.
//
//	disconnect [<bool>]
type Disconnect struct {
	// CEL expression: whether the connection is closed, and with it the
	// sockets of its other namespaces; default false, as Socket.IO's own.
	Close string `json:"close,omitempty"`
}

func (s *Disconnect) parse(l *reader) (err error) {
	s.Close, err = l.optionalExpr()
	return err
}

func (s *Disconnect) compile(c *compiler) error {
	text := s.Close
	if text == "" {
		text = "false"
	}
	closes, err := c.condition(text)
	if err != nil {
		return err
	}
	c.warnOfUser()
	c.add(func(r *run) *hub.Refusal {
		ok, err := closes(r)
		if err != nil {
			return asRefusal(err)
		}
		return r.call.Do(&hub.Disconnect{CloseAll: ok})
	})
	return nil
}
