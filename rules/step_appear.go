package rules

import (
	"errors"

	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("appear", func() Action { return new(Appear) }) }

// Appear makes an anonymous socket count as a user in presence: in the lists
// that are announced, in members, online, is_online and last_seen. It is a
// name to show and proves nothing: `sender` and `user_room` know nothing of
// it. It is refused FORBIDDEN where the namespace has auth; a socket with a
// token stays who it is.
//
//	appear <id>
type Appear struct {
	// CEL expression: a string of at most 128 bytes, or a whole number
	// standing for its decimal text.
	ID string `json:"id"`
}

func (s *Appear) parse(l *reader) (err error) {
	s.ID, err = l.expr("the id")
	return err
}

func (s *Appear) compile(c *compiler) error {
	if c.kind == disconnectRule {
		return errors.New("a socket that has disconnected cannot appear")
	}
	ids, _, err := c.targets(s.ID)
	if err != nil {
		return err
	}
	c.add(func(r *run) *hub.Refusal {
		id, err := ids(r)
		if err != nil {
			return asRefusal(err)
		}
		if len(id) != 1 || id[0].Kind != hub.Room {
			return asRefusal(invalid("an id is a string or a whole number"))
		}
		return r.call.Do(&hub.Appear{User: id[0].Name})
	})
	return nil
}
