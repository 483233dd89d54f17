package rules

import (
	"errors"
	"fmt"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/parser"
)

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
	// address, or a list of at most 128 of them, where none means nobody.
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

func (s *Emit) emits() []string      { return []string{s.Event} }
func (s *Broadcast) emits() []string { return []string{s.Event} }
func (s *Batch) emits() []string     { return []string{s.Event} }
func (s *Ask) emits() []string       { return []string{s.Event} }

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

// Ask emits to this socket and waits for its acknowledgement, whose arguments
// become a list. Only this rule waits: later events of the socket go on. If
// none comes, the event is refused with TIMEOUT.
//
//	ask <name> <event> <arg>… [timeout <duration>]
type Ask struct {
	// Name of the list in the steps behind.
	Name string `json:"name"`
	// Name of the event; "*" is the name of the incoming one.
	Event string `json:"event"`
	// CEL expressions, as of emit.
	Args []string `json:"args,omitempty"`
	// How long to wait; default 10s.
	Timeout Duration `json:"timeout,omitempty"`
}

const defaultAskTimeout = 10 * time.Second

func (s *Ask) parse(l *reader) (err error) {
	if s.Name, err = l.word("the name of the answer"); err != nil {
		return err
	}
	if s.Event, err = l.word("the event"); err != nil {
		return err
	}
	for l.more() {
		if l.keyword("timeout") {
			s.Timeout, err = l.duration("the timeout")
			return err
		}
		e, err := l.expr("the argument")
		if err != nil {
			return err
		}
		s.Args = append(s.Args, e)
	}
	return nil
}

func (s *Ask) compile(c *compiler) error {
	if c.kind != eventRule {
		return errOnlyEvents
	}
	if s.Timeout < 0 {
		return errors.New("the timeout must not be negative")
	}
	e, err := c.emission(&Emit{Event: s.Event, Args: s.Args}, false)
	if err != nil {
		return err
	}
	answer := &variable{name: s.Name, title: s.Name, list: true, fromClient: true, clientsChoice: true}
	if err := c.declare(answer, cel.ListType(cel.DynType)); err != nil {
		return err
	}
	timeout := time.Duration(s.Timeout)
	if timeout == 0 {
		timeout = defaultAskTimeout
	}
	c.add(func(r *run) *hub.Refusal {
		r.suspend()
		out, err := e.build(r)
		if err != nil {
			return asRefusal(err)
		}
		then := func(args parser.Args, refusal *hub.Refusal) { r.resume(answer.slot, args, refusal) }
		r.call.Do(&hub.Ask{Event: out.Event, Args: out.Args, Timeout: timeout, Then: then})
		return suspended // r may have ended already
	})
	return nil
}
