package rules

import (
	"fmt"
	"regexp"

	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("require", func() Action { return new(Require) }) }

// Require refuses the event unless a condition holds. A condition that cannot
// be evaluated does not hold.
//
//	require <bool> [<message> [<CODE>]]
type Require struct {
	// CEL expression.
	Condition string `json:"condition"`
	// What the client is told; default "Invalid arguments" or, if a field is
	// missing, which.
	Message string `json:"message,omitempty"`
	// The code that goes with it: INVALID, FORBIDDEN or another of the
	// server's, or one of your own: capitals, digits and underscores, a capital
	// first, at most 64. Default: INVALID.
	Code hub.Code `json:"code,omitempty"`
}

var codeForm = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

func (s *Require) parse(l *reader) (err error) {
	if s.Condition, err = l.expr("the condition"); err != nil || !l.more() {
		return err
	}
	if s.Message, err = l.text("the message"); err != nil || !l.more() {
		return err
	}
	code, err := l.word("the code")
	s.Code = hub.Code(code)
	if err == nil && l.more() {
		err = fmt.Errorf("unexpected %q; a message with spaces must be in double quotes", l.tokens[0].Text)
	}
	return err
}

func (s *Require) compile(c *compiler) error {
	if s.Code != "" && !codeForm.MatchString(string(s.Code)) {
		return fmt.Errorf("%s is not a code: write capitals, digits and underscores, a capital first, at most 64 (OUT_OF_STOCK); a message with spaces must be in double quotes", s.Code)
	}
	when, err := c.condition(s.Condition)
	if err != nil {
		return err
	}
	c.learn(true)
	c.warnOfTemplate(s.Message)
	no := hub.Refusal{Code: hub.Invalid, Message: msgInvalid, Rule: c.where}
	if s.Code != "" {
		no.Code = s.Code
		c.set.codes[s.Code] = true
	}
	if s.Message != "" {
		if no.Message, err = c.set.text(s.Message); err != nil {
			return err
		}
	}
	c.add(func(r *run) *hub.Refusal {
		ok, err := when(r)
		switch {
		case ok && err == nil:
			return nil
		case err == nil:
			return &no
		}
		cause := asRefusal(err)
		if s.Message == "" || cause.Code == hub.TooLarge {
			return cause
		}
		return &hub.Refusal{Code: no.Code, Message: no.Message, Cause: cause}
	})
	return nil
}
