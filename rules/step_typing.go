package rules

import (
	"errors"

	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("typing", func() Action { return new(Typing) }) }

// Typing tells the others in a room that this socket types there, or that it
// stopped. Start sends user-typing {userId, …payload} if the socket was not
// typing there, and while it types once a second at most. The socket stops by
// itself after 5 s without another start, when it leaves the room and when it
// disconnects; stopping sends user-stopped-typing {userId}, once. The socket
// must be in the room.
//
//	typing start|stop <room> [<payload>]
type Typing struct {
	// Whether it stops. Default: it starts.
	Stop bool `json:"stop,omitempty"`
	// CEL expression: a string, or a whole number standing for its decimal
	// text.
	Room string `json:"room"`
	// CEL expression: an object that user-typing has in addition to userId.
	Payload string `json:"payload,omitempty"`
}

func (s *Typing) parse(l *reader) (err error) {
	switch {
	case l.keyword("start"):
	case l.keyword("stop"):
		s.Stop = true
	default:
		return errors.New("write start or stop before the room: typing start data.roomId")
	}
	if s.Room, err = l.expr("the room"); err != nil {
		return err
	}
	if !s.Stop {
		s.Payload, err = l.optionalExpr()
	}
	return err
}

func (s *Typing) compile(c *compiler) error {
	if c.kind != eventRule {
		return errOnlyEvents
	}
	if s.Stop && s.Payload != "" {
		return errors.New("stop takes no payload")
	}
	rooms, _, err := c.targets(s.Room)
	if err != nil {
		return err
	}
	payload := `{"userId": sender}`
	if s.Payload != "" {
		payload = "merge(" + s.Payload + ", " + payload + ")"
	}
	args, err := c.value(payload)
	if err != nil {
		return err
	}
	c.add(func(r *run) *hub.Refusal {
		to, err := rooms(r)
		if err != nil {
			return asRefusal(err)
		}
		if len(to) != 1 {
			return asRefusal(invalid("typing needs exactly one room"))
		}
		typing := &hub.Typing{Stop: s.Stop, Room: to[0]}
		if !s.Stop {
			if typing.Payload, err = args.build(r); err != nil {
				return asRefusal(err)
			}
		}
		return r.call.Do(typing)
	})
	return nil
}

func (s *Typing) emits() []string { return hub.TypingEvents }
