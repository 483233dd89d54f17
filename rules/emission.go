package rules

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/names"
	"github.com/caddy-realtime/realtime/parser"
)

// emission is a compiled Emit.
type emission struct {
	event      string // "" for the incoming event's name
	namespace  string // "" for the socket's own
	scope      hub.Scope
	args       argList
	to, except targets
	notSelf    bool
	volatile   bool
}

const maxEventName = 128 // bytes

var (
	errLongEvent    = errors.New("the name of the event is longer than 128 bytes")
	errUncleanEvent = errors.New("the name of the event has a control character")
)

func (c *compiler) emission(s *Emit, notSelf bool) (e emission, err error) {
	event, err := c.set.text(s.Event)
	switch {
	case err != nil:
		return e, err
	case event == "":
		return e, errors.New("the event is missing")
	case event == "*" && c.kind != eventRule:
		return e, errors.New("* stands for the name of the client's event; write a name here")
	case parser.IsReserved(event):
		return e, fmt.Errorf("the name %s is reserved by Socket.IO; choose another", event)
	case len(event) > maxEventName:
		return e, errLongEvent
	case !names.Clean(event):
		return e, errUncleanEvent
	}
	e = emission{event: event, notSelf: notSelf, volatile: s.Volatile}
	if event == "*" {
		e.event = ""
	}
	if e.namespace, err = c.namespace(s); err != nil {
		return e, err
	}
	if e.args, err = c.args(s.Args); err != nil {
		return e, err
	}
	switch {
	case s.To == "*", s.To == "" && (s.Except != "" || notSelf):
		e.scope = hub.ToAll
	case s.To == "":
		e.scope = hub.ToSelf
	default:
		e.scope = hub.ToRooms
		if e.to, _, err = c.targets(s.To); err != nil {
			return e, err
		}
		c.warnOfTargets()
		c.warnOfUserID()
		if err = c.checkRooms(); err != nil {
			return e, err
		}
	}
	if s.Except != "" {
		e.except, _, err = c.targets(s.Except)
	}
	return e, err
}

// namespace checks the namespace of s, which need not be there.
func (c *compiler) namespace(s *Emit) (string, error) {
	if s.Namespace == "" {
		return "", nil
	}
	name, err := c.set.text(s.Namespace)
	switch {
	case err != nil:
		return "", err
	case !strings.HasPrefix(name, "/"):
		return "", fmt.Errorf("of %s: the name of a namespace begins with /, and is not an expression", name)
	case s.To == "":
		return "", fmt.Errorf("of %s: to is missing; to * is the whole namespace", name)
	case c.set.isNamespace != nil && !c.set.isNamespace(name):
		return "", fmt.Errorf("of %s: the configuration has no namespace of this name", name)
	}
	return name, nil
}

// build makes the emission, valid until the next step.
func (e *emission) build(r *run) (out *hub.Emission, err error) {
	out = &r.emission
	*out = hub.Emission{Event: e.event, Namespace: e.namespace, Scope: e.scope, NotSelf: e.notSelf, Volatile: e.volatile}
	if out.Event == "" {
		out.Event = r.event.Name
	}
	if e.to != nil {
		if out.To, err = e.to(r); err != nil {
			return out, err
		}
	}
	if e.except != nil {
		if out.Except, err = e.except(r); err != nil {
			return out, err
		}
	}
	out.Args, err = e.args.build(r)
	return out, err
}

// allArgs stands for all arguments of the incoming event.
const allArgs = "args..."

// argList are compiled arguments; nil stands for all incoming ones.
type argList []emitter

func (c *compiler) args(exprs []string) (argList, error) {
	var list argList
	for _, text := range exprs {
		if text == allArgs {
			list = append(list, nil)
			continue
		}
		e, err := c.emitter(text)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

var errOneValue = errors.New("args... may be several values, and only one is allowed here; write args for the list")

// value compiles an expression for exactly one value.
func (c *compiler) value(text string) (argList, error) {
	if text == allArgs {
		return nil, errOneValue
	}
	return c.args([]string{text})
}

// build makes the arguments, valid until the next step. A single selection is
// not even copied.
func (l argList) build(r *run) (parser.Args, error) {
	if len(l) == 1 {
		switch e := l[0].(type) {
		case nil:
			return r.event.Args, nil
		case *constant:
			return parser.Args{JSON: e.json}, nil
		case *path:
			v, err := e.resolve(r)
			if err != nil {
				return parser.Args{}, err
			}
			if v.kind == rawValue && len(v.bins) == 0 {
				return parser.Args{JSON: v.raw}, nil
			}
		}
	}
	r.b.Reset()
	for _, e := range l {
		if err := r.addArg(e); err != nil {
			return parser.Args{}, err
		}
	}
	args, err := r.b.Args()
	if errors.Is(err, parser.ErrTooManyAttachments) {
		err = &hub.Refusal{Code: hub.TooLarge, Message: msgTooLarge, Cause: err}
	}
	return args, err
}

func (r *run) addArg(e emitter) error {
	if e != nil {
		r.b.NextArg()
		return e.emit(r, &r.b)
	}
	if len(bytes.TrimSpace(r.event.Args.JSON)) > 0 {
		r.b.NextArg()
		r.b.AddRaw(r.event.Args.JSON, r.event.Args.Bin)
	}
	return nil
}
