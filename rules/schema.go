package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddy-realtime/realtime/hub"
)

// Schema refuses the event unless its first argument satisfies a JSON Schema,
// draft 2020-12. The client is told the first field that does not, and what it
// must be. Formats are annotations, as the draft has it; patterns are regular
// expressions of Go; $dynamicRef is not supported.
//
//	schema <file or inline JSON>
type Schema struct {
	// The file with the schema; its $ref may name files beside and below it.
	// In a Caddyfile it is relative to that file, in JSON to Caddy's working
	// directory. It is read when the config loads.
	File string `json:"file,omitempty"`
	// The schema itself, instead of a file.
	Inline json.RawMessage `json:"inline,omitempty"`
}

const maxSchema = 1 << 20 // bytes of a file

func (s *Schema) parse(l *reader) error {
	t, err := l.next("a file or a schema")
	if err != nil {
		return err
	}
	if text := strings.TrimSpace(t.Text); strings.HasPrefix(text, "{") || text == "true" || text == "false" {
		if !json.Valid([]byte(text)) {
			return errors.New("the inline schema is no JSON")
		}
		s.Inline = json.RawMessage(text)
		return nil
	}
	if s.File = t.Text; !filepath.IsAbs(s.File) {
		s.File = filepath.Join(filepath.Dir(t.File), s.File)
	}
	return nil
}

var errOnlyEvents = errors.New("only in the rule of a client's event")

func (s *Schema) compile(c *compiler) error {
	if c.kind != eventRule {
		return errOnlyEvents
	}
	schema, err := s.load()
	if err != nil {
		return err
	}
	c.add(func(r *run) *hub.Refusal { return validate(schema, r.firstArg(), r.args.Bin) })
	return nil
}

// load reads and compiles the schema.
func (s *Schema) load() (*jsonschema.Schema, error) {
	switch {
	case s.File != "" && s.Inline != nil:
		return nil, errors.New("either a file or an inline schema is expected")
	case s.Inline != nil:
		doc, err := readSchema(bytes.NewReader(s.Inline))
		if err != nil {
			return nil, err
		}
		return compileSchema("inline", doc, noFiles{})
	case s.File == "":
		return nil, errors.New("a file or a schema is missing")
	}
	path, err := filepath.EvalSymlinks(s.File) // where it really is, beside its own
	if err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	files := schemaFiles{dir}
	doc, err := files.read(filepath.Base(path))
	if err != nil {
		return nil, err
	}
	return compileSchema(filepath.Base(path), doc, files)
}

// schemaScheme is that of the URLs that schemas have while they are compiled:
// their $ref are resolved against it, so that none can name a file elsewhere.
const schemaScheme = "schema"

func compileSchema(name string, doc any, loader jsonschema.URLLoader) (*jsonschema.Schema, error) {
	location := (&url.URL{Scheme: schemaScheme, Path: "/" + name}).String()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(loader)
	if err := c.AddResource(location, doc); err != nil {
		return nil, err
	}
	schema, err := c.Compile(location)
	if err != nil {
		// The library's errors have several lines, and our URLs.
		text := strings.NewReplacer("\n", "; ", schemaScheme+":///", "").Replace(err.Error())
		return nil, errors.New(text)
	}
	return schema, nil
}

// readSchema decodes a schema document and refuses what validate does not do.
func readSchema(r io.Reader) (any, error) {
	doc, err := jsonschema.UnmarshalJSON(io.LimitReader(r, maxSchema))
	if err != nil {
		return nil, fmt.Errorf("decoding the schema: %w", err)
	}
	return doc, checkDocument(doc)
}

func checkDocument(doc any) error {
	switch doc := doc.(type) {
	case []any:
		for _, v := range doc {
			if err := checkDocument(v); err != nil {
				return err
			}
		}
	case map[string]any:
		if draft, ok := doc["$schema"].(string); ok && strings.TrimSuffix(draft, "#") != jsonschema.Draft2020.String() {
			return fmt.Errorf("$schema is %s, only %s is supported", draft, jsonschema.Draft2020)
		}
		if _, ok := doc["$dynamicRef"].(string); ok {
			return errors.New("$dynamicRef is not supported")
		}
		for _, v := range doc {
			if err := checkDocument(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// noFiles loads nothing: an inline schema stands alone.
type noFiles struct{}

func (noFiles) Load(location string) (any, error) {
	return nil, errors.New("an inline schema cannot refer to another document")
}

// schemaFiles loads what a file refers to, from its directory only.
type schemaFiles struct{ dir *os.Root }

func (f schemaFiles) Load(location string) (any, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	if u.Scheme != schemaScheme || u.Host != "" {
		return nil, errors.New("only files beside and below the schema can be referred to, none is fetched")
	}
	return f.read(filepath.FromSlash(strings.TrimPrefix(u.Path, "/")))
}

func (f schemaFiles) read(name string) (any, error) {
	file, err := f.dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readSchema(file)
}
