package schema

import (
	"strings"
	"testing"
)

// A schema that is not honoured in full is not compiled: else it would let
// through what its author forbids.
func TestUnsupportedSchemasAreRefused(t *testing.T) {
	for doc, want := range map[string]string{
		`{"dependencies": {"a": ["b"]}}`:                                                "inline#: the keyword dependencies is not supported: use dependentRequired or dependentSchemas",
		`{"properties": {"a/b": {"additionalItems": false}}}`:                           "inline#/properties/a~1b: the keyword additionalItems",
		`{"items": {"allOf": [{"requierd": ["a"]}]}}`:                                   "inline#/items/allOf/0: the keyword requierd is not one of JSON Schema 2020-12",
		`{"if": {"nullable": true}}`:                                                    "the keyword nullable is not supported",
		`{"$recursiveRef": "#"}`:                                                        "the keyword $recursiveRef is not supported",
		`{"$dynamicAnchor": "a", "items": {"$dynamicRef": "#a"}}`:                       "inline#/items: $dynamicRef is not supported",
		`{"$ref": "http://json-schema.org/draft-04/schema#"}`:                           "draft-04",
		`{"$ref": "http://json-schema.org/draft-06/schema#"}`:                           "draft-06",
		`{"$ref": "http://json-schema.org/draft-07/schema#"}`:                           "draft-07",
		`{"$ref": "https://json-schema.org/draft/2019-09/schema"}`:                      "2019-09",
		`{"$ref": "https://json-schema.org/draft/2020-12/schema"}`:                      "$dynamicRef is not supported",
		`{"$schema": "http://json-schema.org/draft-07/schema#"}`:                        "$schema is http://json-schema.org/draft-07/schema#",
		`{"$schema": "https://example.com/mine"}`:                                       "cannot refer to another document",
		`{"items": {"$id": "x", "$schema": "http://json-schema.org/draft-07/schema#"}}`: "draft-07",
		`{"$ref": "#"}`:                              "inline#: it refers to itself without end",
		`{"allOf": [{"$ref": "#"}]}`:                 "without end",
		`{"then": {"$ref": "#"}, "if": true}`:        "without end",
		`{"dependentSchemas": {"a": {"$ref": "#"}}}`: "without end",
		`{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}`: "without end",
		`{"not": {"$ref": "#"}}`:                         "within not, if or oneOf",
		`{"oneOf": [{"type": "string"}, {"$ref": "#"}]}`: "within not, if or oneOf",
		`{"if": {"anyOf": [true, {"$ref": "#"}]}}`:       "within not, if or oneOf",
	} {
		if _, err := Parse([]byte(doc)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s\ngot  %v\nwant %s", doc, err, want)
		}
	}
}

// What looks like a keyword but stands where there are no schemas is data.
func TestKeywordsInDataAreData(t *testing.T) {
	for _, test := range []struct{ doc, valid, invalid string }{
		{`{"const": {"$dynamicRef": "#x", "$schema": "http://json-schema.org/draft-07/schema#", "requierd": 1}}`, `{"requierd":1,"$schema":"http://json-schema.org/draft-07/schema#","$dynamicRef":"#x"}`, `{}`},
		{`{"enum": [{"dependencies": {"a": 1}}], "default": {"nullable": 1}, "examples": [{"$recursiveRef": 1}]}`, `{"dependencies":{"a":1}}`, `1`},
		{`{"properties": {"dependencies": {"type": "string"}, "$dynamicRef": {"type": "null"}}}`, `{"dependencies":"x","$dynamicRef":null}`, `{"dependencies":1}`},
		{`{"required": ["requierd"], "dependentRequired": {"nullable": ["id"]}}`, `{"requierd":1,"nullable":1,"id":1}`, `{"requierd":1,"nullable":1}`},
		{`{"$schema": "https://json-schema.org/draft/2020-12/schema#", "x-note": {"requierd": 1}, "$comment": "x", "format": "email", "type": "string"}`, `"x"`, `1`},
		{`{"$dynamicAnchor": "a", "$anchor": "b", "items": {"$ref": "#b"}, "type": "array"}`, `[[],[[]]]`, `[[1]]`},
		// Alternatives that refer to the schema itself decide nothing.
		{`{"anyOf": [{"$ref": "#"}, {"type": "string"}]}`, `"x"`, `1`},
		{`{"anyOf": [{"type": "string"}, {"$ref": "#"}]}`, `"x"`, `1`},
		{`{"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}, {"type": "string"}]}, "b": {"allOf": [{"anyOf": [{"$ref": "#/$defs/a"}, {"const": 1}]}]}}}`, `1`, `2`},
		{`{"type": "array", "items": {"anyOf": [{"$ref": "#"}, {"$ref": "#/items"}, {"const": 1}]}}`, `[1,[1,[]]]`, `[1,[2]]`},
		// The same schema for a part of the value is another matter.
		{`{"properties": {"a": {"$ref": "#"}}, "not": {"required": ["a", "b"]}, "oneOf": [{"required": ["a"]}, {"maxProperties": 0}]}`, `{"a":{"a":{}}}`, `{"a":{"b":1}}`},
	} {
		s, err := Parse([]byte(test.doc))
		if err != nil {
			t.Errorf("%s: %v", test.doc, err)
			continue
		}
		if err := s.Validate([]byte(test.valid), nil, always); err != nil {
			t.Errorf("%s of %s: %v", test.doc, test.valid, err)
		}
		if err := s.Validate([]byte(test.invalid), nil, always); err == nil {
			t.Errorf("%s: %s is valid", test.doc, test.invalid)
		}
	}
}

// always gives a validation all the time it takes.
func always() bool { return true }
