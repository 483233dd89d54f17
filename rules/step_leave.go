package rules

import (
	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("leave", func() Action { return new(Leave) }) }

// Leave removes the socket from rooms.
//
//	leave <room or list>
type Leave struct {
	// CEL expression, as of join.
	Rooms string `json:"rooms"`
}

func (s *Leave) parse(l *reader) (err error) {
	s.Rooms, err = l.expr("the room")
	return err
}

func (s *Leave) compile(c *compiler) error {
	rooms, _, err := c.targets(s.Rooms)
	if err != nil {
		return err
	}
	c.add(func(r *run) *hub.Refusal {
		from, err := rooms(r)
		if err != nil {
			return asRefusal(err)
		}
		return r.call.Do(&hub.Leave{Rooms: from})
	})
	return nil
}
