// Package rules is the language in which a configuration says what sockets
// may do: for each event a list of steps, whose conditions and arguments are
// CEL expressions (design, sections 2 and 5). Rules are compiled once, to
// short programs that run against a hub.Call.
//
// hub → **rules**. The package is a hub.Policy. It knows nothing of sessions,
// of other nodes and of Caddy: whoever reads a Caddyfile hands its tokens over
// as Lines.
package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Rule says what happens on one event of a namespace's sockets.
type Rule struct {
	// Name of the event that clients send; "connect", "disconnect", or "*"
	// for all that no other rule names.
	Event string `json:"event"`
	// What is done, in order. The first step that fails ends the rule: the
	// client is refused.
	Steps []Step `json:"steps,omitempty"`

	at position // "source" in JSON
}

// Step is one step of a rule. In JSON it is an object with one key, the step's
// name, and another, "source", if it came from a Caddyfile: "<file>:<line>",
// which errors and the log name.
type Step struct {
	Action Action
	at     position
}

// Action is what a step does. Its type is registered with the step's name and
// documents the step: its fields are the step's in JSON.
type Action interface {
	// parse takes the tokens after the step's name.
	parse(l *reader) error
	// compile checks the step and adds its ops, which a run executes. An op has
	// an effect by Call.Do.
	compile(c *compiler) error
}

// An emitting Action sends events; of a preset, these are reserved.
type emitting interface {
	emits() []string
}

// sourceKey is the member of a rule or a step in JSON that says where it came
// from.
const sourceKey = "source"

// MarshalJSON writes {"<name>": {…}}, and the source.
func (s Step) MarshalJSON() ([]byte, error) {
	name := actionName(s.Action)
	if name == "" {
		return nil, errors.New("the step is missing")
	}
	step := map[string]any{name: s.Action}
	if s.at != (position{}) {
		step[sourceKey] = s.at
	}
	return json.Marshal(step)
}

// UnmarshalJSON reads {"<name>": {…}}; unknown names and fields are errors.
func (s *Step) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	if source, ok := raw[sourceKey]; ok {
		if err := json.Unmarshal(source, &s.at); err != nil {
			return err
		}
		delete(raw, sourceKey)
	}
	if len(raw) != 1 {
		return fmt.Errorf("a step must be an object with one key, its name; this one has %d", len(raw))
	}
	for name, fields := range raw {
		action, err := newAction(name)
		if err != nil {
			return err
		}
		if err := unmarshalStrict(fields, action); err != nil {
			return fmt.Errorf("step %s: %w", name, err)
		}
		s.Action = action
	}
	return nil
}

// plainRule is a Rule as JSON.
type plainRule struct {
	fields
	Source position `json:"source,omitzero"`
}

type fields Rule // without its methods

// MarshalJSON writes a rule with its source.
func (r Rule) MarshalJSON() ([]byte, error) { return json.Marshal(plainRule{fields(r), r.at}) }

// UnmarshalJSON reads a rule; unknown fields are errors.
func (r *Rule) UnmarshalJSON(data []byte) error {
	var plain plainRule
	if err := unmarshalStrict(data, &plain); err != nil {
		return err
	}
	*r = Rule(plain.fields)
	r.at = plain.Source
	return nil
}

// WithoutSources is a list of rules in JSON, decoded, without where they came
// from: what is left is what they do.
func WithoutSources(list []any) {
	for _, v := range list {
		object, _ := v.(map[string]any)
		delete(object, sourceKey)
		steps, _ := object["steps"].([]any)
		WithoutSources(steps)
		if branch, ok := object["if"].(map[string]any); ok {
			steps, _ := branch["steps"].([]any)
			WithoutSources(steps)
		}
	}
}

func unmarshalStrict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// position is a line of a file; without a file, the rule came from JSON.
type position struct {
	file string
	line int
}

// MarshalText writes <file>:<line>.
func (p position) MarshalText() ([]byte, error) { return []byte(p.or("")), nil }

// UnmarshalText reads what MarshalText writes.
func (p *position) UnmarshalText(text []byte) error {
	i := bytes.LastIndexByte(text, ':')
	line, err := strconv.Atoi(string(text[i+1:]))
	if i <= 0 || err != nil {
		return fmt.Errorf("source is %q, not of the form file:line", text)
	}
	*p = position{file: string(text[:i]), line: line}
	return nil
}

// or is the position as text, or path for a rule from JSON.
func (p position) or(path string) string {
	if p.file == "" {
		return path
	}
	return p.file + ":" + strconv.Itoa(p.line)
}

// placedError is an error whose text begins with the place in the
// configuration.
type placedError struct{ error }

func placed(where, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if where == "" {
		return &placedError{err}
	}
	return &placedError{fmt.Errorf("%s: %w", where, err)}
}

// IsPlaced reports whether the text of err begins with a place in the
// configuration.
func IsPlaced(err error) bool { return errors.As(err, new(*placedError)) }
