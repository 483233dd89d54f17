package rules_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/testenv"
	"github.com/caddy-realtime/realtime/rules"
)

func schemaSet(t testing.TB, schema string) *rules.Set {
	t.Helper()
	return compile(t, "on test {\nschema `"+schema+"`\nack 1\n}", rules.Options{})
}

const messageSchema = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object",
	"required": ["roomId", "text"],
	"properties": {
		"roomId": {"type": ["string", "integer"]},
		"text": {"type": "string", "minLength": 1, "maxLength": 5},
		"color": {"enum": ["red", "green"]},
		"at": {"$ref": "#/$defs/point"},
		"path": {"type": "array", "items": {"$ref": "#/$defs/point"}, "maxItems": 3, "uniqueItems": true},
		"price": {"type": "number", "minimum": 0.5, "multipleOf": 0.01},
		"code": {"pattern": "^[a-z]+$"}
	},
	"additionalProperties": false,
	"$defs": {"point": {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}, "y": {"type": "number"}}}}
}`

// What clients are told is stable: they may show it.
func TestSchemaMessagesNameTheMember(t *testing.T) {
	set := schemaSet(t, messageSchema)
	for _, test := range []struct{ args, want string }{
		{`{"roomId":1,"text":"a"}`, `ack 1`},
		{`{"roomId":"r","text":"äöüäö","at":{"x":1.0},"price":1.25,"path":[{"x":1},{"x":2}]}`, `ack 1`},
		{``, `The first argument must be an object`},
		{`"x"`, `The first argument must be an object`},
		{`{"text":"a"}`, `Missing field roomId`},
		{`{"roomId":1,"text":7}`, `text: must be a string`},
		{`{"roomId":1,"text":""}`, `text: must not be empty`},
		{`{"roomId":1,"text":"aaaaaa"}`, `text: must have at most 5 characters`},
		{`{"roomId":1.5,"text":"a"}`, `roomId: must be a whole number or a string`},
		{`{"roomId":1,"text":"a","color":"blue"}`, `color: must be one of "red", "green"`},
		{`{"roomId":1,"text":"a","at":{}}`, `Missing field at.x`},
		{`{"roomId":1,"text":"a","path":[{"x":1},{"x":"2"}]}`, `path.1.x: must be a whole number`},
		{`{"roomId":1,"text":"a","path":[{"x":1},{"x":1}]}`, `path: must not have equal items`},
		{`{"roomId":1,"text":"a","path":[{"x":1},{"x":1},{"x":1},{"x":1}]}`, `path: must have at most 3 items`},
		{`{"roomId":1,"text":"a","price":0.1}`, `price: must be at least 0.5`},
		{`{"roomId":1,"text":"a","price":0.505}`, `price: must be a multiple of 0.01`},
		{`{"roomId":1,"text":"a","code":"A"}`, `code: has the wrong form`},
		{`{"roomId":1,"text":"a","x":0}`, `x: is not allowed`},
		{`{"roomId":1,"text":"a","text":"b"}`, `Invalid arguments`}, // which of the two would it be?
		{`{"roomId":1,"text":"a","price":1e999999}`, `Invalid arguments`},
		{`{"roomId":1,"text":"a","` + repeat("k", 300) + `":0}`, repeat("k", 200) + "…"},
	} {
		want := test.want
		if want != "ack 1" {
			want = "refused INVALID: " + want
		}
		if got := newCall("test", test.args).run(t, set); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", short(test.args), got, want)
		}
	}
}

func TestSchemaOfAlternativesNamesTheLikeliest(t *testing.T) {
	set := schemaSet(t, `{"oneOf": [
		{"properties": {"kind": {"const": "text"}, "text": {"type": "string"}}, "required": ["kind", "text"]},
		{"properties": {"kind": {"const": "point"}, "x": {"type": "number"}}, "required": ["kind", "x"]}
	]}`)
	for args, want := range map[string]string{
		`{"kind":"text","text":"a"}`: `ack 1`,
		`{"kind":"point","x":1}`:     `ack 1`,
		`{"kind":"text","text":1}`:   `refused INVALID: text: must be a string`,
		`{}`:                         `refused INVALID: The first argument has none of the allowed forms`,
	} {
		if got := newCall("test", args).run(t, set); got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
}

func TestSchemaRefusesBinaryInTheFirstArgument(t *testing.T) {
	set := schemaSet(t, `{"properties": {"name": {"type": "string"}}}`)
	const placeholder = `{"_placeholder":true,"num":0}`
	for args, want := range map[string]string{
		`{"name":"a"},` + placeholder:          `ack 1`, // only the first argument is looked at
		`{"name":"a","b":` + placeholder + `}`: `refused INVALID: Invalid arguments`,
		placeholder:                            `refused INVALID: Invalid arguments`,
	} {
		c := newCall("test", args)
		c.args.Bin = [][]byte{[]byte("b")}
		if got := c.run(t, set); got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
}

// Every verdict is the library's, whose own validation passes the official
// suite.
func TestSchemaAgreesWithLibrary(t *testing.T) {
	schemas := []string{
		`true`, `false`, `{}`, `{"type": "integer"}`, `{"type": ["null", "number"]}`, `{"const": 1.0}`, `{"const": {"a": [1]}}`, `{"enum": [1, "1", null, [2.50], {"a": 1}]}`,
		`{"minLength": 2}`, `{"maxLength": 1}`, `{"pattern": "b$"}`,
		`{"minimum": 1}`, `{"exclusiveMinimum": 1}`, `{"maximum": 1.5}`, `{"exclusiveMaximum": 2}`, `{"multipleOf": 0.5}`,
		`{"required": ["a", "b"]}`, `{"minProperties": 1}`, `{"maxProperties": 1}`, `{"propertyNames": {"maxLength": 1}}`,
		`{"properties": {"a": {"type": "integer"}}, "patternProperties": {"^b": {"type": "string"}}, "additionalProperties": {"type": "null"}}`,
		`{"properties": {"a": true}, "additionalProperties": false}`,
		`{"dependentRequired": {"a": ["b"]}}`, `{"dependentSchemas": {"a": {"required": ["b"]}}}`,
		`{"minItems": 2}`, `{"maxItems": 1}`, `{"uniqueItems": true}`, `{"items": {"type": "integer"}}`,
		`{"prefixItems": [{"type": "integer"}], "items": false}`, `{"contains": {"const": 1}}`,
		`{"contains": {"const": 1}, "minContains": 2}`, `{"contains": {"const": 1}, "minContains": 0, "maxContains": 1}`,
		`{"allOf": [{"required": ["a"]}, {"required": ["b"]}]}`, `{"anyOf": [{"type": "string"}, {"required": ["a"]}]}`,
		`{"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}`, `{"not": {"type": "string"}}`,
		`{"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"maxProperties": 0}}`,
		`{"$ref": "#/$defs/x", "$defs": {"x": {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}}}}`,
		`{"unevaluatedProperties": false}`, `{"allOf": [{"properties": {"a": true}}], "unevaluatedProperties": false}`,
		`{"anyOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": true}, "required": ["b"]}], "unevaluatedProperties": false}`,
		`{"properties": {"b": true}, "if": {"properties": {"a": {"const": 1}}, "required": ["a"]}, "then": {"properties": {"c": true}}, "unevaluatedProperties": {"type": "integer"}}`,
		`{"allOf": [{"unevaluatedProperties": false}], "properties": {"a": true}}`,
		`{"allOf": [{"properties": {"a": true}, "unevaluatedProperties": {"type": "string"}}], "unevaluatedProperties": false}`,
		`{"prefixItems": [true], "unevaluatedItems": {"type": "string"}}`, `{"contains": {"type": "string"}, "unevaluatedItems": false}`,
		`{"dependentSchemas": {"a": {"properties": {"b": true}}}, "properties": {"a": true}, "unevaluatedProperties": false}`,
		`{"not": {"not": {"properties": {"a": true}}}, "unevaluatedProperties": false}`,
		`{"oneOf": [{"prefixItems": [{"const": 1}]}, {"prefixItems": [{"const": 2}, true]}], "unevaluatedItems": false}`,
	}
	values := []string{
		`null`, `true`, `0`, `1`, `1.0`, `1.5`, `2`, `-3`, `1e2`, `12345678901234567890`, `0.1`, `""`, `"a"`, `"ab"`, `"1"`, `"äb"`,
		`[]`, `[1]`, `[1,1]`, `[1,1.0]`, `[1,2]`, `["a",1]`, `["a","b"]`, `[[1],[1.0]]`, `[{"a":1,"b":2},{"b":2,"a":1}]`, `[1,1,"a"]`, `[2,1]`, `[2.5]`, `[[],[[]]]`,
		`{}`, `{"a":1}`, `{"a":[1]}`, `{"a":"x"}`, `{"b":"x"}`, `{"b":1}`, `{"a":1,"b":2}`, `{"a":1,"b":"x"}`, `{"a":1,"c":"x"}`, `{"a":"s","b":true}`, `{"c":null}`, `{"bb":"x"}`, `{"a":{"a":{"a":1}}}`, `{"a":{"a":{}}}`,
	}
	for _, schema := range schemas {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource("schema:///x", doc); err != nil {
			t.Fatal(err)
		}
		library := c.MustCompile("schema:///x")
		set := schemaSet(t, schema)
		for _, text := range values {
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			want, got := library.Validate(value) == nil, newCall("test", text).run(t, set)
			if (got == "ack 1") != want {
				t.Errorf("%s\nof %s\ngot %s, want valid=%v", schema, text, got, want)
			}
		}
	}
}

// Each pair is the worst that 64 KB can do to a schema that somebody may write.
func TestSchemaIsBounded(t *testing.T) {
	fill := func(open, item, end string) string {
		return open + repeat(item, (63<<10)/len(item)) + end
	}
	brackets := func() string { // arrays of equal size and different shape
		items := make([]string, 0, 3000)
		for i := range 3000 {
			var b strings.Builder
			for bit := range 12 {
				b.WriteString([]string{"[],", "[[]],"}[i>>bit&1])
			}
			items = append(items, "["+strings.TrimSuffix(b.String(), ",")+"]")
		}
		return "[" + strings.Join(items[:1200], ",") + "]"
	}
	tree := `{"$defs": {"n": {"oneOf": [
		{"properties": {"kind": {"const": "a"}, "in": {"type": "array", "items": {"$ref": "#/$defs/n"}}}},
		{"properties": {"kind": {"const": "b"}, "in": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}]}}, "$ref": "#/$defs/n"}`
	deep := strings.NewReplacer(`"kind": {"const": "a"}`, `"of": {"properties": {"kind": {"const": "a"}}}`,
		`"kind": {"const": "b"}`, `"of": {"properties": {"kind": {"const": "b"}}}`).Replace(tree)
	for _, test := range []struct{ name, schema, args, want string }{
		{"exponents", `{"items": {"minimum": 0}}`, `[` + repeat("1e999999,", 100) + `1]`, "INVALID"},
		{"an exponent that overflows", `{"minimum": 0}`, `1e99999999`, "INVALID"},
		{"long numbers", `{"items": {"minimum": 0}}`, `[` + repeat(repeat("9", 33)+",", 1000) + `1]`, "INVALID"},
		{"large numbers", `{"items": {"type": "integer", "minimum": 0, "multipleOf": 7}}`, fill("[", "7e399,", "7]"), ""},
		{"small numbers", `{"items": {"type": "number", "maximum": 1, "multipleOf": 1e-400}}`, fill("[", "1e-400,", "1]"), ""},
		{"unique numbers", `{"uniqueItems": true}`, fill("[", "1e-400,", "1]"), ""},
		{"unique shapes", `{"uniqueItems": true}`, brackets(), ""},
		{"enum of numbers", `{"items": {"enum": [1e10, 2e10, 3e10, 4e10, 5e10, 6e10, 7e10, 8e10]}}`, fill("[", "8e10,", "8e10]"), ""},
		{"alternatives within alternatives", tree, repeat(`{"in":[`, 16) + repeat(`],"kind":"c"}`, 16), "INVALID"},
		{"alternatives that differ deep", deep, repeat(`{"in":[`, 16) + repeat(`],"of":{"kind":"c"}}`, 16), "TOO_LARGE"},
		{"deep", `{"items": {"$ref": "#"}}`, repeat("[", 33) + repeat("]", 33), "TOO_LARGE"},
		{"as deep as may be", `{"anyOf": [{"$ref": "#"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#"}, {"items": {"$ref": "#/$defs/a"}}]}}}`, repeat("[", 32) + repeat("]", 32), ""},
		{"too large", `true`, fill("[", `"aaaaaaaa",`, repeat(" ", 2000)+"1]"), "TOO_LARGE"},
		{"a pattern", `{"pattern": "^(a*)*(b|c)$"}`, `"` + repeat("a", 63<<10) + `"`, "INVALID"},
		{"patterns of keys", `{"patternProperties": {"^(a|aa)*$": true, "b$": true, "c$": true}}`, "{" + keys(9000) + "}", ""},
		{"many keys", `{"additionalProperties": {"type": "integer"}}`, "{" + keys(9000) + "}", ""},
		{"many errors", `{"items": {"type": "string"}}`, fill("[", "1,", "1]"), "INVALID"},
		{"contains", `{"contains": {"type": "string"}}`, fill("[", "1,", "1]"), "INVALID"},
		{"unevaluated", `{"allOf": [{"items": {"type": "integer"}}], "unevaluatedItems": false}`, fill("[", "1,", "1]"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := schemaSet(t, test.schema)
			bound := 20 * time.Millisecond * testenv.Slowdown
			best, refusal := quickest(bound, set, test.args)
			if best > bound {
				t.Errorf("took %v", best)
			}
			tooLong := refusal != nil && refusal.Code == hub.TooLarge // on a busy machine
			if test.want != "" && !tooLong && (refusal == nil || string(refusal.Code) != test.want) {
				t.Errorf("got %v, want %s", refusal, test.want)
			}
		})
	}
}

// keys are the members of an object with n different short keys, within 63 KB.
func keys(n int) string {
	var b strings.Builder
	for i := 0; i < n && b.Len() < 63<<10; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676%26)) + `":1`)
	}
	return b.String()
}

func TestSchemaFilesReferToTheirDirectoryOnly(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"schemas/message.json":     `{"properties": {"at": {"$ref": "types/point.json"}, "n": {"$ref": "types/point.json#/$defs/n"}}}`,
		"schemas/types/point.json": `{"required": ["x"], "$defs": {"n": {"type": "number"}}}`,
		"schemas/outside.json":     `{"$ref": "../secret.json"}`,
		"schemas/linked.json":      `{"$ref": "link.json"}`,
		"schemas/remote.json":      `{"$ref": "https://example.com/x.json"}`,
		"schemas/file.json":        `{"$ref": "file:///etc/passwd"}`,
		"schemas/host.json":        `{"$ref": "//host/x.json"}`,
		"schemas/broken.json":      `{"type": `,
		"schemas/wrong.json":       `{"type": "text"}`,
		"schemas/draft.json":       `{"$schema": "http://json-schema.org/draft-07/schema#"}`,
		"schemas/dynamic.json":     `{"$dynamicAnchor": "x", "properties": {"a": {"$dynamicRef": "#x"}}}`,
		"schemas/old.json":         `{"properties": {"a": {"$ref": "types/old.json"}}}`,
		"schemas/types/old.json":   `{"$schema": "http://json-schema.org/draft-04/schema#", "$ref": "#/definitions/a", "definitions": {"a": {}}}`,
		"schemas/typo.json":        `{"$ref": "types/typo.json#/$defs/a"}`,
		"schemas/types/typo.json":  `{"$defs": {"a": {"requierd": ["x"]}}}`,
		"schemas/pattern.json":     `{"pattern": "(?=a)"}`,
		"secret.json":              `true`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func(file string) (*rules.Set, error) {
		own, err := parse(filepath.Join(dir, "Caddyfile"), "on test {\n\tschema "+file+"\n\tack 1\n}")
		if err != nil {
			t.Fatal(err)
		}
		return rules.Compile(own, nil, rules.Options{})
	}

	if err := os.Symlink(filepath.Join(dir, "schemas/message.json"), filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "secret.json"), filepath.Join(dir, "schemas/link.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := load("link.json"); err != nil {
		t.Error(err)
	}
	set, err := load("schemas/message.json") // relative to the Caddyfile
	if err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		`{"at":{"x":1},"n":1}`: `ack 1`,
		`{"at":{}}`:            `refused INVALID: Missing field at.x`,
		`{"n":"1"}`:            `refused INVALID: n: must be a number`,
	} {
		if got := newCall("test", args).run(t, set); got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
	for file, want := range map[string]string{
		"schemas/none.json":    "no such file",
		"schemas/outside.json": "no such file", // the directory is the root of what there is
		"schemas/linked.json":  "escapes",
		"schemas/remote.json":  "none is fetched",
		"schemas/file.json":    "none is fetched",
		"schemas/host.json":    "none is fetched",
		"schemas/broken.json":  "broken.json is not valid JSON: line 1, column 9",
		"schemas/wrong.json":   "/type",
		"schemas/draft.json":   "draft-07",
		"schemas/dynamic.json": "dynamic.json#/properties/a: $dynamicRef is not supported",
		"schemas/old.json":     "types/old.json#: $schema is http://json-schema.org/draft-04/schema#",
		"schemas/typo.json":    "types/typo.json#/$defs/a: the keyword requierd is not one of JSON Schema 2020-12",
		"schemas/pattern.json": "pattern",
	} {
		_, err := load(file)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:2: schema: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestSchemaErrorsSayWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"on x {\nschema\n}":                              "the file or the schema is missing",
		"on x {\nschema `{\"type\"}`\n}":                 "not valid JSON: line 1, column 8",
		"on x {\nschema `{\"$ref\": \"other.json\"}`\n}": "cannot refer",
		"on connect {\nschema true\n}":                   "only allowed in rules for events",
	} {
		if _, err := compileError(text, rules.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
