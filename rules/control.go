package rules

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/hub"
)

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
	after := 0 // the program counter behind the block, known below
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

// Ignore ends the rule; the client gets no answer, not even an empty
// acknowledgement.
//
//	ignore
type Ignore struct{}

func (*Ignore) parse(*reader) error { return nil }

func (*Ignore) compile(c *compiler) error {
	if c.kind == connectRule {
		return errors.New("a connect must be answered; require refuses it")
	}
	end := c.end
	c.add(func(r *run) *hub.Refusal {
		r.pc = *end
		return r.call.Do(&hub.Ignore{})
	})
	return nil
}

// Disconnect removes the socket from the namespace and, unless the condition
// is false, closes the underlying connection. The rule goes on.
//
//	disconnect [<bool>]
type Disconnect struct {
	// CEL expression: whether the connection is closed, and with it the
	// sockets of its other namespaces; default false, as Socket.IO's own.
	Close string `json:"close,omitempty"`
}

func (s *Disconnect) parse(l *reader) (err error) {
	s.Close, err = l.optionalExpr()
	return err
}

func (s *Disconnect) compile(c *compiler) error {
	text := s.Close
	if text == "" {
		text = "false"
	}
	closes, err := c.condition(text)
	if err != nil {
		return err
	}
	c.warnOfUser()
	c.add(func(r *run) *hub.Refusal {
		ok, err := closes(r)
		if err != nil {
			return asRefusal(err)
		}
		return r.call.Do(&hub.Disconnect{CloseAll: ok})
	})
	return nil
}

// SetData stores a value as socket.data.<key>.
//
//	set <key> <value>
type SetData struct {
	// Name of the key.
	Key string `json:"key"`
	// CEL expression; its value must not have binary data in it.
	Value string `json:"value"`
}

func (s *SetData) parse(l *reader) (err error) {
	if s.Key, err = l.word("the key"); err != nil {
		return err
	}
	s.Value, err = l.expr("the value")
	return err
}

// dataKey is a key as it is read, not as it is set.
var dataKey = regexp.MustCompile(`^(?:socket\.)?data\.(.+)$`)

func (s *SetData) compile(c *compiler) error {
	if s.Key == "" {
		return errors.New("the key is missing")
	}
	if key := dataKey.FindStringSubmatch(s.Key); key != nil {
		return fmt.Errorf("write the key alone, as in: set %s %s; its value is then socket.data.%s", key[1], s.Value, key[1])
	}
	key, err := c.set.text(s.Key)
	if err != nil {
		return err
	}
	value, err := c.value(s.Value)
	if err != nil {
		return err
	}
	c.set.sets[s.Key] = true
	c.add(func(r *run) *hub.Refusal {
		args, err := value.build(r)
		if err != nil {
			return asRefusal(err)
		}
		if len(args.Bin) > 0 {
			return errBinary
		}
		return r.call.Do(&hub.Set{Key: key, Value: bytes.Clone(args.JSON)})
	})
	return nil
}

// Log writes a value to the log, as a field: at most 1 KB, ten times a second
// for each event.
//
//	log <value>
type Log struct {
	// CEL expression.
	Value string `json:"value"`
}

const (
	maxLog       = 1024 // bytes of a logged value
	logsPerEvent = 10   // in a second
)

func (s *Log) parse(l *reader) (err error) {
	s.Value, err = l.expr("the value")
	return err
}

func (s *Log) compile(c *compiler) error {
	value, err := c.value(s.Value)
	if err != nil {
		return err
	}
	c.add(func(r *run) *hub.Refusal {
		if !r.code.logs.take(time.Now()) {
			return nil
		}
		args, err := value.build(r)
		if err != nil {
			return asRefusal(err)
		}
		text := strings.ToValidUTF8(string(args.JSON[:min(len(args.JSON), maxLog)]), "")
		r.set.log.Info("rule", "event", strings.Clone(r.event.Name), "value", text, "socket_id", r.event.Socket.ID(), "namespace", r.event.Namespace)
		return nil
	})
	return nil
}

// quota lets a number of things through in each second.
type quota struct {
	second atomic.Int64
	used   atomic.Int64
}

func (q *quota) take(now time.Time) bool {
	second := now.Unix()
	if old := q.second.Load(); old != second && q.second.CompareAndSwap(old, second) {
		q.used.Store(0)
	}
	return q.used.Add(1) <= logsPerEvent
}
