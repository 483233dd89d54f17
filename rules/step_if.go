package rules

import (
	"errors"

	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("if", func() Action { return new(If) }) }

// If runs steps only if a condition holds. A condition that cannot be
// evaluated refuses the event.
//
//	if <bool> { <steps> }
type If struct {
	// CEL expression.
	Condition string `json:"condition"`
	// What is done if it is true; at least one step.
	Steps []Step `json:"steps"`
}

func (s *If) parse(l *reader) (err error) {
	if s.Condition, err = l.expr("the condition"); err != nil {
		return err
	}
	s.Steps, err = parseSteps(l.block)
	l.block = nil
	return err
}

func (s *If) compile(c *compiler) error {
	if len(s.Steps) == 0 {
		return errors.New("the steps are missing; write: if <condition> { … }, with each step on a line of its own")
	}
	when, err := c.condition(s.Condition)
	if err != nil {
		return err
	}
	c.warnOfUser()
	outer := c.scope
	c.learn(false)
	after := 0 // the program counter after the block, known below
	c.add(func(r *run) *hub.Refusal {
		ok, err := when(r)
		if err != nil {
			return asRefusal(err)
		}
		if !ok {
			r.pc = after
		}
		return nil
	})
	if err := c.block(s.Steps, c.path+".if"); err != nil {
		return err
	}
	c.scope = outer
	after = len(c.code.ops)
	return nil
}

func (s *If) emits() []string { return emitted(s.Steps) }
