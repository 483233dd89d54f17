package rules

import (
	"cmp"
	"errors"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("let", func() Action { return new(Let) }) }

// Let evaluates an expression once and gives the value a name for the steps that
// follow, those of an if until its end. It is known in this run of the rule
// only and stored nowhere. As any value of JSON, a double that is whole comes
// back as an int. More than 64 KB of it are TOO_LARGE.
//
//	let <name> <value>
type Let struct {
	// The name: a CEL identifier that is no variable yet and not reserved.
	Name string `json:"name"`
	// CEL expression.
	Value string `json:"value"`
}

func (s *Let) parse(l *reader) (err error) {
	if s.Name, err = l.word("the name"); err != nil {
		return err
	}
	s.Value, err = l.expr("the value")
	return err
}

func (s *Let) compile(c *compiler) error {
	value, err := c.value(s.Value)
	if err != nil {
		return err
	}
	v := &variable{
		name: s.Name, title: cmp.Or(c.facts.selection, s.Name),
		fromClient: c.last.fromClient, clientsChoice: len(c.facts.targets) > 0,
	}
	if err := c.declare(v, letType(c.last.out)); err != nil {
		return err
	}
	trace := c.set.trace
	c.add(func(r *run) *hub.Refusal {
		args, err := value.build(r)
		switch {
		case err != nil:
			return asRefusal(err)
		case args.Len() > maxRead:
			return errVariable
		}
		r.keep(v.slot, args)
		if trace != nil {
			trace.Let(s.Name, args.JSON)
		}
		return nil
	})
	return nil
}

var errVariable = &hub.Refusal{Code: hub.TooLarge, Message: msgTooLarge, Cause: errors.New("a variable takes more than 64 KB")}

// letType is what is known of a value of type t after it has been JSON.
func letType(t *cel.Type) *cel.Type {
	switch t.Kind() {
	case types.BoolKind, types.IntKind, types.StringKind:
		return t
	}
	return cel.DynType
}
