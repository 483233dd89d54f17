package rules

import (
	"fmt"

	"github.com/caddy-realtime/realtime/hub"
)

func init() {
	register("emit", func() Action { return new(Emit) })
	register("broadcast", func() Action { return new(Broadcast) })
}

// Emit sends an event, by default to this socket only.
//
//	emit <event> <arg>… [to <rooms>] [except <rooms>] [of <namespace>] [volatile]
type Emit struct {
	// Name of the event; "*" is the name of the incoming one.
	Event string `json:"event"`
	// CEL expressions, one for each argument; "args..." stands for all
	// arguments of the incoming event.
	Args []string `json:"args,omitempty"`
	// CEL expression for the rooms that get it: a string, a whole number, an
	// address, or a list of at most 128 of them, where an empty list has no receivers.
	// "*" is the whole namespace.
	To string `json:"to,omitempty"`
	// CEL expression for rooms whose sockets do not get it. Without To, all
	// others in the namespace do.
	Except string `json:"except,omitempty"`
	// The name of another namespace, whose sockets get it instead: `/chat`. It
	// needs To, whose rooms are those of that namespace.
	Namespace string `json:"namespace,omitempty"`
	// Sockets that cannot take it right now do not get it.
	Volatile bool `json:"volatile,omitempty"`
}

// Broadcast sends an event to others, by default the whole namespace; never to
// this socket.
//
//	broadcast <event> <arg>… [to <rooms>] [except <rooms>] [of <namespace>] [volatile]
type Broadcast Emit

func (s *Emit) parse(l *reader) (err error) {
	if s.Event, err = l.word("the event"); err != nil {
		return err
	}
	s.Args = l.args()
	for {
		switch {
		case l.keyword("to"):
			err = l.rooms("to", &s.To)
		case l.keyword("except"):
			err = l.rooms("except", &s.Except)
		case l.keyword("of"):
			err = l.namespace(&s.Namespace)
		case l.keyword("volatile"):
			s.Volatile = true
		case l.more() && s.To+s.Except != "":
			return fmt.Errorf("unexpected %q; write several rooms as one list in backticks: `[\"a\", \"b\"]`", l.tokens[0].Text)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *Broadcast) parse(l *reader) error { return (*Emit)(s).parse(l) }

func (s *Emit) compile(c *compiler) error      { return s.compileFor(c, false) }
func (s *Broadcast) compile(c *compiler) error { return (*Emit)(s).compileFor(c, true) }

func (s *Emit) compileFor(c *compiler, notSelf bool) error {
	e, err := c.emission(s, notSelf)
	if err != nil {
		return err
	}
	c.add(func(r *run) *hub.Refusal {
		out, err := e.build(r)
		if err != nil {
			return asRefusal(err)
		}
		return r.call.Do(out)
	})
	return nil
}

func (s *Emit) emits() []string { return []string{s.Event} }

func (s *Broadcast) emits() []string { return []string{s.Event} }
