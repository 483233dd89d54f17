package rules

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/rules/schema"
)

func init() { register("schema", func() Action { return new(Schema) }) }

// Schema refuses the event unless its first argument satisfies a JSON Schema,
// draft 2020-12. The client is told the first field that does not, and what it
// must be. Formats are annotations, as the draft has it; patterns are regular
// expressions of Go. What would not be checked, such as keywords of other
// drafts and $dynamicRef, is an error when the config loads.
//
//	schema <file or inline JSON>
type Schema struct {
	// The file with the schema; its $ref may name files in the same directory and below.
	// In a Caddyfile it is relative to that file, in JSON to Caddy's working
	// directory. It is read when the config loads.
	File string `json:"file,omitempty"`
	// The schema itself, instead of a file.
	Inline json.RawMessage `json:"inline,omitempty"`
}

func (s *Schema) parse(l *reader) error {
	t, err := l.next("the file or the schema")
	if err != nil {
		return err
	}
	if text := strings.TrimSpace(t.Text); strings.HasPrefix(text, "{") || text == "true" || text == "false" {
		if err := schema.CheckJSON("the schema", []byte(text)); err != nil {
			return err
		}
		s.Inline = json.RawMessage(text)
		return nil
	}
	if s.File = t.Text; !filepath.IsAbs(s.File) {
		s.File = filepath.Join(filepath.Dir(t.File), s.File)
	}
	return nil
}

func (s *Schema) compile(c *compiler) error {
	if c.kind != eventRule {
		return errOnlyEvents
	}
	compiled, err := s.load()
	if err != nil {
		return err
	}
	c.schema = true
	c.add(func(r *run) *hub.Refusal { return r.validate(compiled, r.firstArg(), r.event.Args.Bin) })
	return nil
}

func (s *Schema) load() (*schema.Schema, error) {
	switch {
	case s.File != "" && s.Inline != nil:
		return nil, errors.New("write either a file or an inline schema")
	case s.Inline != nil:
		return schema.Parse(s.Inline)
	case s.File == "":
		return nil, errors.New("the file or the schema is missing")
	}
	return schema.Open(s.File)
}

// validate checks a client's value against a schema.
func (r *run) validate(s *schema.Schema, raw []byte, bins [][]byte) *hub.Refusal {
	if len(raw) > maxRead || tooDeep(raw, maxDepth) {
		return errTooLarge
	}
	r.clock.begin()
	err := s.Validate(raw, bins, r.timeLeft)
	r.clock.finish()
	var violation *schema.Violation
	switch {
	case err == nil:
		return nil
	case errors.As(err, &violation):
		return &hub.Refusal{Code: hub.Invalid, Message: violation.Error()}
	case errors.Is(err, schema.ErrTime), errors.Is(err, schema.ErrNested):
		return &hub.Refusal{Code: hub.TooLarge, Message: msgTooLarge, Cause: err}
	}
	return asRefusal(err)
}
