// Package schema checks what clients send against JSON Schemas, draft 2020-12,
// in bounded time.
//
// **schema** → rules. A library reads and compiles the schemas; the validation
// is this package's own, because the library's cannot be stopped, and a client
// can make it take minutes: for a schema that refers to itself in two branches
// of a oneOf it tries 2^depth ways, and its uniqueItems compares all items
// whose structure hashes alike. It also collects every error, where the first
// is enough.
package schema

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
)

// Schema is a compiled schema. It is immutable and safe for concurrent use.
type Schema struct{ root *jsonschema.Schema }

const maxDocument = 1 << 20 // bytes

// Parse compiles a schema that refers to no other document.
func Parse(doc []byte) (*Schema, error) {
	d, err := decode("the schema", bytes.NewReader(doc))
	if err != nil {
		return nil, err
	}
	return compile("inline", d, noFiles{})
}

// Open compiles the schema in a file. What it refers to must be in the
// directory of the file, after symbolic links, or below.
func Open(path string) (*Schema, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	files := directory{dir}
	doc, err := files.read(filepath.Base(path))
	if err != nil {
		return nil, err
	}
	return compile(filepath.Base(path), doc, files)
}

// scheme is the scheme of the URLs that schemas have while they are compiled:
// their $ref are resolved against it, so that none can name a file elsewhere.
const scheme = "schema"

func compile(name string, doc any, loader jsonschema.URLLoader) (*Schema, error) {
	location := (&url.URL{Scheme: scheme, Path: "/" + name}).String()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	docs := map[string]any{location: doc}
	c.UseLoader(recorder{loader, docs})
	if err := c.AddResource(location, doc); err != nil {
		return nil, err
	}
	root, err := c.Compile(location)
	if err != nil {
		// The library's errors have several lines, and our URLs.
		text := strings.NewReplacer("\n", "; ", scheme+":///", "").Replace(err.Error())
		return nil, errors.New(text)
	}
	if err := supported(root, docs); err != nil {
		return nil, err
	}
	return &Schema{root}, nil
}

// decode reads a schema document.
func decode(title string, r io.Reader) (any, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDocument))
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	if err := CheckJSON(title, text); err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("decoding the schema: %w", err)
	}
	return doc, nil
}

// CheckJSON says where a document goes wrong that is not JSON; errors name it by
// title.
func CheckJSON(title string, document []byte) error {
	var v any
	err := json.Unmarshal(document, &v)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return nil
	}
	before := document[:max(syntax.Offset-1, 0)]
	line, column := bytes.Count(before, []byte{'\n'})+1, len(before)-bytes.LastIndexByte(before, '\n')
	return fmt.Errorf("%s is not valid JSON: line %d, column %d: %w", title, line, column, err)
}

// recorder keeps the documents that a compiler loads.
type recorder struct {
	jsonschema.URLLoader
	docs map[string]any // by URL
}

func (r recorder) Load(location string) (any, error) {
	doc, err := r.URLLoader.Load(location)
	if err == nil {
		r.docs[location] = doc
	}
	return doc, err
}

// noFiles loads nothing: an inline schema stands alone.
type noFiles struct{}

func (noFiles) Load(location string) (any, error) {
	return nil, errors.New("an inline schema cannot refer to another document")
}

// directory loads what a file refers to, from its directory only.
type directory struct{ root *os.Root }

func (d directory) Load(location string) (any, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	if u.Scheme != scheme || u.Host != "" {
		return nil, errors.New("a schema can refer only to files in its directory and below; none is fetched")
	}
	return d.read(filepath.FromSlash(strings.TrimPrefix(u.Path, "/")))
}

func (d directory) read(name string) (any, error) {
	file, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return decode(name, file)
}
