package rules

import (
	"errors"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/parser"
)

func init() { register("ask", func() Action { return new(Ask) }) }

// Ask emits to this socket and waits for its acknowledgement, whose arguments
// become a list. Only this rule waits: later events of the socket run meanwhile. If
// none comes, the event is refused with TIMEOUT.
//
//	ask <name> <event> <arg>… [timeout <duration>]
type Ask struct {
	// Name of the list in the steps that follow.
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

func (s *Ask) emits() []string { return []string{s.Event} }
