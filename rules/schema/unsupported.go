package schema

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// What Validate does not honour would be let through in silence, so compile
// refuses it: keywords that it does not know, $dynamicRef, schemas of other
// drafts, and schemas that refer to themselves so that no value has a verdict.

// keywords are those that Validate honours, and those that assert nothing.
var keywords = func() map[string]bool {
	known := map[string]bool{}
	for _, word := range strings.Fields(`
		$schema $id $ref $anchor $dynamicAnchor $defs definitions $comment
		type const enum allOf anyOf oneOf not if then else dependentSchemas dependentRequired
		minLength maxLength pattern minimum maximum exclusiveMinimum exclusiveMaximum multipleOf
		items prefixItems contains minContains maxContains minItems maxItems uniqueItems unevaluatedItems
		properties patternProperties additionalProperties propertyNames required minProperties maxProperties unevaluatedProperties
		title description default deprecated readOnly writeOnly examples format contentEncoding contentMediaType contentSchema`) {
		known[word] = true
	}
	return known
}()

// instead are keywords of other drafts and dialects, and what says the same.
var instead = map[string]string{
	"$dynamicRef":      "name the schema with $ref",
	"$recursiveRef":    "name the schema with $ref",
	"$recursiveAnchor": "name the schema with $ref",
	"additionalItems":  "use items beside prefixItems",
	"dependencies":     "use dependentRequired or dependentSchemas",
	"id":               "use $id",
	"divisibleBy":      "use multipleOf",
	"nullable":         `use "type": ["null", …]`,
	"example":          "use examples",
}

// supported returns why a compiled schema, or one that it refers to, is not
// honoured; nil if all are. docs are the documents that it was made of, by their
// URLs.
func supported(root *jsonschema.Schema, docs map[string]any) error {
	g := newGraph(root)
	for _, s := range g.schemas {
		if err := supportedAlone(s, docs); err != nil {
			return fmt.Errorf("%s: %w", place(s), err)
		}
	}
	return g.checkCycles()
}

// place is where a schema stands, for its author.
func place(s *jsonschema.Schema) string {
	text := strings.TrimPrefix(s.Location, scheme+":///")
	if at, err := url.PathUnescape(text); err == nil {
		return at
	}
	return text
}

func supportedAlone(s *jsonschema.Schema, docs map[string]any) error {
	object := lookup(s.Location, docs)
	if draft, ok := object["$schema"].(string); ok && strings.TrimSuffix(draft, "#") != jsonschema.Draft2020.String() {
		return fmt.Errorf("$schema is %s, only %s is supported", draft, jsonschema.Draft2020)
	}
	if s.DraftVersion != 2020 {
		return fmt.Errorf("it is of another draft, only %s is supported", jsonschema.Draft2020)
	}
	if s.DynamicRef != nil {
		return fmt.Errorf("$dynamicRef is not supported: %s", instead["$dynamicRef"])
	}
	for _, word := range slices.Sorted(maps.Keys(object)) {
		if !keywords[word] && !strings.HasPrefix(word, "x-") {
			return unknownKeyword(word)
		}
	}
	return nil
}

func unknownKeyword(word string) error {
	if hint := instead[word]; hint != "" {
		return fmt.Errorf("the keyword %s is not supported: %s", word, hint)
	}
	return fmt.Errorf("the keyword %s is not one of JSON Schema 2020-12; a note of your own begins with x-", word)
}

// lookup is the object at a location, nil if it is none.
func lookup(location string, docs map[string]any) map[string]any {
	doc, pointer, _ := strings.Cut(location, "#")
	v := docs[doc]
	pointer, err := url.PathUnescape(pointer)
	if err != nil {
		return nil
	}
	for _, key := range strings.Split(pointer, "/")[1:] {
		key = strings.NewReplacer("~1", "/", "~0", "~").Replace(key)
		switch in := v.(type) {
		case map[string]any:
			v = in[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(in) {
				return nil
			}
			v = in[i]
		}
	}
	object, _ := v.(map[string]any)
	return object
}

// graph is a schema with all that it refers to.
type graph struct {
	schemas []*jsonschema.Schema
	index   map[*jsonschema.Schema]int
	applied [][]edge // to each, the schemas that it applies to the value itself
}

// edge leads from a schema to one that it applies to the same value.
type edge struct {
	to  int
	how relation
}

// relation is what the verdict of a schema has to do with the verdict of
// another that it applies.
type relation uint8

const (
	demands  relation = iota // it fails with that one
	suffices                 // it holds with that one, whatever the others say
	opposes                  // it may fail because that one holds
)

func newGraph(root *jsonschema.Schema) *graph {
	g := &graph{index: map[*jsonschema.Schema]int{}}
	g.add(root)
	for i := 0; i < len(g.schemas); i++ {
		s := g.schemas[i]
		var edges []edge
		apply := func(how relation, schemas ...*jsonschema.Schema) {
			for _, to := range schemas {
				if to != nil {
					edges = append(edges, edge{g.add(to), how})
				}
			}
		}
		apply(demands, s.Ref, s.Then, s.Else)
		apply(demands, s.AllOf...)
		apply(demands, slices.Collect(maps.Values(s.DependentSchemas))...)
		apply(suffices, s.AnyOf...)
		apply(opposes, s.Not, s.If)
		apply(opposes, s.OneOf...)
		g.applied = append(g.applied, edges)
		g.addParts(s)
	}
	return g
}

// addParts adds what s applies to parts of the value.
func (g *graph) addParts(s *jsonschema.Schema) {
	parts := []*jsonschema.Schema{s.PropertyNames, s.UnevaluatedProperties, s.Contains, s.Items2020, s.UnevaluatedItems}
	if additional, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		parts = append(parts, additional)
	}
	parts = slices.Concat(parts, s.PrefixItems, slices.Collect(maps.Values(s.Properties)), slices.Collect(maps.Values(s.PatternProperties)))
	if s.DynamicRef != nil {
		parts = append(parts, s.DynamicRef.Ref)
	}
	for _, part := range parts {
		if part != nil {
			g.add(part)
		}
	}
}

func (g *graph) add(s *jsonschema.Schema) int {
	i, known := g.index[s]
	if !known {
		i = len(g.schemas)
		g.index[s] = i
		g.schemas = append(g.schemas, s)
	}
	return i
}

// checkCycles refuses a schema that applies itself to the same value, unless
// that is one of several alternatives of anyOf: then the value has a verdict
// without it.
func (g *graph) checkCycles() error {
	all := g.components(func(relation) bool { return true })
	demanded := g.components(func(how relation) bool { return how != suffices })
	for from, edges := range g.applied {
		for _, e := range edges {
			switch {
			case e.how == opposes && all[from] == all[e.to]:
				return fmt.Errorf("%s: it refers to itself within not, if or oneOf, so that no value satisfies or violates it", place(g.schemas[from]))
			case e.how == demands && demanded[from] == demanded[e.to]:
				return fmt.Errorf("%s: it refers to itself without end", place(g.schemas[from]))
			}
		}
	}
	return nil
}

// components numbers the schemas so that those have the same number that lead to
// each other by the edges taken (Tarjan's strongly connected components). A
// schema that leads to itself is told apart by its edge.
func (g *graph) components(take func(relation) bool) []int {
	var (
		number, low = make([]int, len(g.schemas)), make([]int, len(g.schemas))
		component   = make([]int, len(g.schemas))
		open        []int
		visit       func(v int)
		next        = 0
	)
	visit = func(v int) {
		next++
		number[v], low[v] = next, next
		open = append(open, v)
		for _, e := range g.applied[v] {
			switch {
			case !take(e.how):
			case number[e.to] == 0:
				visit(e.to)
				low[v] = min(low[v], low[e.to])
			case component[e.to] == 0:
				low[v] = min(low[v], number[e.to])
			}
		}
		if low[v] != number[v] {
			return
		}
		for {
			w := open[len(open)-1]
			open = open[:len(open)-1]
			component[w] = number[v]
			if w == v {
				return
			}
		}
	}
	for v := range g.schemas {
		if number[v] == 0 {
			visit(v)
		}
	}
	return component
}
