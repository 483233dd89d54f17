package rules

import (
	"errors"
	"time"

	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("batch", func() Action { return new(Batch) }) }

// Batch collects a value, and once in each window emits those collected as one
// array, for each event and target.
//
//	batch <duration> <event> <arg> [to <rooms>]
type Batch struct {
	// How long to collect, from the first value on.
	Window Duration `json:"window"`
	// Name of the event; "*" is the name of the incoming one.
	Event string `json:"event"`
	// CEL expression of what is collected.
	Arg string `json:"arg"`
	// CEL expression for the rooms, as of emit; default: this socket.
	To string `json:"to,omitempty"`
}

func (s *Batch) parse(l *reader) (err error) {
	if s.Window, err = l.duration("the window"); err != nil {
		return err
	}
	if s.Event, err = l.word("the event"); err != nil {
		return err
	}
	if s.Arg, err = l.expr("the argument"); err != nil {
		return err
	}
	if l.keyword("to") {
		err = l.rooms("to", &s.To)
	}
	return err
}

func (s *Batch) compile(c *compiler) error {
	if s.Window <= 0 {
		return errors.New("the window must be greater than 0")
	}
	if s.Arg == allArgs {
		return errOneValue
	}
	e, err := c.emission(&Emit{Event: s.Event, Args: []string{s.Arg}, To: s.To}, false)
	if err != nil {
		return err
	}
	c.add(func(r *run) *hub.Refusal {
		out, err := e.build(r)
		if err != nil {
			return asRefusal(err)
		}
		return r.call.Do(&hub.Batch{Window: time.Duration(s.Window), Emission: *out})
	})
	return nil
}

func (s *Batch) emits() []string { return []string{s.Event} }
