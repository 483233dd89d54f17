package schema

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddy-realtime/realtime/internal/rawjson"
)

const (
	maxNested   = 500 // schemas within one another; each level of JSON takes a few
	checkTurns  = 32  // schemas between two looks at the clock
	maxMessage  = 200 // bytes of a message
	maxLiterals = 80  // bytes of the values that a message lists
)

// Errors of Validate that are not about a schema's demands.
var (
	ErrTime   = errors.New("a schema takes too long")
	ErrNested = errors.New("a schema refers to itself without end")

	errNumber    = errors.New("a number is out of range")
	errDuplicate = errors.New("an object has a key twice")
	errBinary    = errors.New("binary data where only JSON can stand")
)

// Validate checks a client's value, a JSON text of bounded size and depth in
// which placeholders stand for bins. It returns a *Violation if the value does
// not satisfy the schema; ErrTime if goOn, which is called now and then, says that
// the time is over; another error if the value cannot be compared.
func (s *Schema) Validate(raw []byte, bins [][]byte, goOn func() bool) error {
	n, err := newInstance(raw, bins)
	if err != nil {
		return err
	}
	c := &checker{goOn: goOn, references: []reference{{s.root, &n}}}
	v := c.check(s.root, &n, nil)
	switch {
	case c.stopped != nil:
		return c.stopped
	case v != nil:
		return v
	}
	return nil
}

// checker is one validation.
type checker struct {
	goOn   func() bool
	turns  int
	nested int
	// What is under way: the last are about the present value.
	references []reference
	spare      []*Violation // of alternatives that do not matter any more
	// Once set, every check fails, so that the validation ends soon; what it
	// found by then means nothing.
	stopped error
}

// Violation is why a value does not satisfy a schema. Its message is made when it
// is asked for: most alternatives of an anyOf fail, and the message of one of them
// is read at most.
type Violation struct {
	at      []string // the way to the value, innermost key first
	text    string   // what it must be, or
	demand  demand   // the demand that it does not meet, of
	schema  *jsonschema.Schema
	missing string // the field that is missing instead
}

func wrong(text string) *Violation { return &Violation{text: text} }

func (c *checker) unmet(d demand, s *jsonschema.Schema) *Violation {
	v := new(Violation)
	if last := len(c.spare) - 1; last >= 0 {
		v, c.spare = c.spare[last], c.spare[:last]
	}
	*v = Violation{at: v.at[:0], demand: d, schema: s}
	return v
}

// in says that what is wrong is within the member key.
func (v *Violation) in(key string) *Violation {
	if v != nil {
		v.at = append(v.at, key)
	}
	return v
}

// Error is what the client is told.
func (v *Violation) Error() string {
	at := slices.Clone(v.at)
	slices.Reverse(at)
	text, message := v.text, ""
	if v.demand != noDemand {
		text = v.demand.text(v.schema)
	}
	switch {
	case v.missing != "":
		message = "Missing field " + strings.Join(append(at, v.missing), ".")
	case len(at) == 0:
		message = "The first argument " + text
	default:
		message = strings.Join(at, ".") + ": " + text
	}
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	return message
}

// evaluated are the members of an object, or items of an array, that a
// successful schema has looked at, for unevaluatedProperties and
// unevaluatedItems (JSON Schema Core, 11). Nil keeps no account.
type evaluated struct {
	keys  map[string]bool
	items map[int]bool
}

func (e *evaluated) key(key string) {
	if e != nil {
		if e.keys == nil {
			e.keys = map[string]bool{}
		}
		e.keys[key] = true
	}
}

func (e *evaluated) item(i int) {
	if e != nil {
		if e.items == nil {
			e.items = map[int]bool{}
		}
		e.items[i] = true
	}
}

func (e *evaluated) merge(other *evaluated) {
	if e == nil {
		return
	}
	for key := range other.keys {
		e.key(key)
	}
	for i := range other.items {
		e.item(i)
	}
}

// check returns the first thing that is wrong with n, nil if nothing is. up
// learns what was evaluated.
func (c *checker) check(s *jsonschema.Schema, n *instance, up *evaluated) *Violation {
	if !c.enter() {
		return wrong("")
	}
	defer func() { c.nested-- }()
	if s.Bool != nil {
		if *s.Bool {
			return nil
		}
		return wrong("is not allowed")
	}
	seen := up
	if s.UnevaluatedProperties != nil || s.UnevaluatedItems != nil {
		seen = new(evaluated) // what others evaluated does not count
	}
	v := c.checkValue(s, n)
	if v == nil {
		v = c.checkContent(s, n, seen)
	}
	if v == nil {
		v = c.checkApplied(s, n, seen)
	}
	if v == nil {
		v = c.checkUnevaluated(s, n, seen)
	}
	if seen != up {
		up.merge(seen)
	}
	return v
}

// enter counts a schema and reports whether there is time for it.
func (c *checker) enter() bool {
	c.turns++
	switch {
	case c.stopped != nil:
	case c.nested == maxNested:
		c.stopped = ErrNested
	case c.turns%checkTurns == 0:
		c.look()
	}
	if c.stopped != nil {
		return false
	}
	c.nested++
	return true
}

// look stops the validation when its time is over.
func (c *checker) look() bool {
	if c.stopped == nil && !c.goOn() {
		c.stopped = ErrTime
	}
	return c.stopped == nil
}

// checkValue is type, const and enum.
func (c *checker) checkValue(s *jsonschema.Schema, n *instance) *Violation {
	if s.Types != nil && !hasType(*s.Types, n) {
		return c.unmet(typeDemand, s)
	}
	if s.Const != nil && !n.equal(*s.Const) {
		return c.unmet(constDemand, s)
	}
	if s.Enum == nil {
		return nil
	}
	for _, v := range s.Enum.Values {
		if n.equal(v) {
			return nil
		}
		if c.turns++; c.turns%checkTurns == 0 && !c.look() {
			break
		}
	}
	return c.unmet(enumDemand, s)
}

// checkContent is what concerns values of one type.
func (c *checker) checkContent(s *jsonschema.Schema, n *instance, seen *evaluated) *Violation {
	switch n.kind {
	case rawjson.KindString:
		return c.checkText(s, n.text)
	case rawjson.KindNumber:
		return c.checkNumber(s, n)
	case rawjson.KindArray:
		return c.checkArray(s, n, seen)
	case rawjson.KindObject:
		return c.checkObject(s, n, seen)
	}
	return nil
}

func (c *checker) checkText(s *jsonschema.Schema, text string) *Violation {
	if s.MinLength != nil || s.MaxLength != nil {
		switch n := utf8.RuneCountInString(text); {
		case s.MinLength != nil && n < *s.MinLength && *s.MinLength == 1:
			return wrong("must not be empty")
		case s.MinLength != nil && n < *s.MinLength:
			return c.unmet(minLengthDemand, s)
		case s.MaxLength != nil && n > *s.MaxLength:
			return c.unmet(maxLengthDemand, s)
		}
	}
	if s.Pattern != nil && !s.Pattern.MatchString(text) {
		return wrong("has the wrong form")
	}
	return nil
}

func (c *checker) checkNumber(s *jsonschema.Schema, n *instance) *Violation {
	if s.Minimum == nil && s.Maximum == nil && s.ExclusiveMinimum == nil && s.ExclusiveMaximum == nil && s.MultipleOf == nil {
		return nil
	}
	switch v := n.rat(); {
	case s.Minimum != nil && v.Cmp(s.Minimum) < 0:
		return c.unmet(minimumDemand, s)
	case s.Maximum != nil && v.Cmp(s.Maximum) > 0:
		return c.unmet(maximumDemand, s)
	case s.ExclusiveMinimum != nil && v.Cmp(s.ExclusiveMinimum) <= 0:
		return c.unmet(aboveDemand, s)
	case s.ExclusiveMaximum != nil && v.Cmp(s.ExclusiveMaximum) >= 0:
		return c.unmet(belowDemand, s)
	case s.MultipleOf != nil && !v.Quo(v, s.MultipleOf).IsInt():
		return c.unmet(multipleDemand, s)
	}
	return nil
}

func (c *checker) checkArray(s *jsonschema.Schema, n *instance, seen *evaluated) *Violation {
	switch {
	case s.MinItems != nil && len(n.items) < *s.MinItems:
		return c.unmet(minItemsDemand, s)
	case s.MaxItems != nil && len(n.items) > *s.MaxItems:
		return c.unmet(maxItemsDemand, s)
	case s.UniqueItems && !c.unique(n.items):
		return wrong("must not have equal items")
	}
	for i := range n.items {
		schema := s.Items2020
		if i < len(s.PrefixItems) {
			schema = s.PrefixItems[i]
		}
		if schema == nil {
			break
		}
		if v := c.check(schema, &n.items[i], nil); v != nil {
			return v.in(strconv.Itoa(i))
		}
		seen.item(i)
	}
	return c.checkContains(s, n, seen)
}

// unique reports whether no two items are equal.
func (c *checker) unique(items []instance) bool {
	known := make(map[string]bool, len(items))
	var text []byte
	for i := range items {
		text = items[i].appendCanonical(text[:0])
		if known[string(text)] || !c.look() {
			return false
		}
		known[string(text)] = true
	}
	return true
}

func (c *checker) checkContains(s *jsonschema.Schema, n *instance, seen *evaluated) *Violation {
	if s.Contains == nil {
		return nil
	}
	found, least := 0, 1
	if s.MinContains != nil {
		least = *s.MinContains
	}
	for i := range n.items {
		if c.check(s.Contains, &n.items[i], nil) == nil {
			found++
			seen.item(i)
		}
	}
	switch {
	case found < least:
		return wrong("lacks an item that must be in it")
	case s.MaxContains != nil && found > *s.MaxContains:
		return wrong("has too many items of a kind")
	}
	return nil
}

func (c *checker) checkObject(s *jsonschema.Schema, n *instance, seen *evaluated) *Violation {
	for _, key := range s.Required {
		if !n.has(key) {
			return &Violation{missing: key}
		}
	}
	switch {
	case s.MinProperties != nil && len(n.items) < *s.MinProperties:
		return c.unmet(minFieldsDemand, s)
	case s.MaxProperties != nil && len(n.items) > *s.MaxProperties:
		return c.unmet(maxFieldsDemand, s)
	}
	if v := c.glance(s, n); v != nil {
		return v
	}
	for i := range n.items {
		if v := c.checkMember(s, n, i, seen); v != nil {
			return v.in(n.key(i))
		}
	}
	return c.checkDependents(s, n, seen)
}

// glance looks at what costs little in all members before any of them is
// checked as a whole: their type, const and enum, and which fields they lack. So
// an alternative that names its kind in a const fails before it is descended into,
// whatever the order of the members.
func (c *checker) glance(s *jsonschema.Schema, n *instance) *Violation {
	if len(n.items) < 2 {
		return nil
	}
	for i := range n.items {
		schema, value := s.Properties[n.key(i)], &n.items[i]
		if schema == nil || schema.Bool != nil {
			continue
		}
		if v := c.checkValue(schema, value); v != nil {
			return v.in(n.key(i))
		}
		if value.kind != rawjson.KindObject {
			continue
		}
		for _, key := range schema.Required {
			if !value.has(key) {
				return (&Violation{missing: key}).in(n.key(i))
			}
		}
	}
	return nil
}

func (c *checker) checkMember(s *jsonschema.Schema, n *instance, i int, seen *evaluated) *Violation {
	key, value := n.key(i), &n.items[i]
	if s.PropertyNames != nil {
		name := instance{kind: rawjson.KindString, text: key}
		if c.check(s.PropertyNames, &name, nil) != nil {
			return wrong("is no name that a field may have")
		}
	}
	schema, known := s.Properties[key]
	if known {
		if v := c.check(schema, value, nil); v != nil {
			return v
		}
	}
	for _, pattern := range sortedPatterns(s.PatternProperties) {
		if pattern.MatchString(key) {
			known = true
			if v := c.check(s.PatternProperties[pattern], value, nil); v != nil {
				return v
			}
		}
	}
	if !known {
		var v *Violation
		if known, v = c.checkAdditional(s, value); v != nil {
			return v
		}
	}
	if known {
		seen.key(key)
	}
	return nil
}

// checkAdditional reports whether the schema says something of fields that it
// does not name.
func (c *checker) checkAdditional(s *jsonschema.Schema, value *instance) (known bool, v *Violation) {
	switch additional := s.AdditionalProperties.(type) {
	case bool:
		if !additional {
			return true, wrong("is not allowed")
		}
		return true, nil
	case *jsonschema.Schema:
		return true, c.check(additional, value, nil)
	}
	return false, nil
}

// sortedPatterns are in the order of their texts, so that the same one fails
// first each time.
func sortedPatterns(patterns map[jsonschema.Regexp]*jsonschema.Schema) []jsonschema.Regexp {
	if len(patterns) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Keys(patterns), func(a, b jsonschema.Regexp) int { return strings.Compare(a.String(), b.String()) })
}

func (c *checker) checkDependents(s *jsonschema.Schema, n *instance, seen *evaluated) *Violation {
	for i := range n.items {
		for _, key := range s.DependentRequired[n.key(i)] {
			if !n.has(key) {
				return &Violation{missing: key}
			}
		}
		if schema := s.DependentSchemas[n.key(i)]; schema != nil {
			if v := c.check(schema, n, seen); v != nil {
				return v
			}
		}
	}
	return nil
}

// checkApplied is what applies other schemas to the same value.
func (c *checker) checkApplied(s *jsonschema.Schema, n *instance, seen *evaluated) *Violation {
	if s.Ref != nil {
		if v := c.checkReference(s.Ref, n, seen); v != nil {
			return v
		}
	}
	for _, schema := range s.AllOf {
		if v := c.check(schema, n, seen); v != nil {
			return v
		}
	}
	if v := c.checkAlternatives(s.AnyOf, false, n, seen); v != nil {
		return v
	}
	if v := c.checkAlternatives(s.OneOf, true, n, seen); v != nil {
		return v
	}
	if s.Not != nil && c.check(s.Not, n, nil) == nil {
		return wrong("is not allowed")
	}
	return c.checkCondition(s, n, seen)
}

// reference is a schema that another refers to, or the root, applied to a value.
type reference struct {
	schema *jsonschema.Schema
	value  *instance
}

// checkReference is $ref. What refers to itself for the same value does so as
// one alternative of anyOf, else compile refuses it: the others decide.
func (c *checker) checkReference(s *jsonschema.Schema, n *instance, seen *evaluated) *Violation {
	for i := len(c.references) - 1; i >= 0 && c.references[i].value == n; i-- {
		if c.references[i].schema == s {
			return wrong("has none of the allowed forms")
		}
	}
	c.references = append(c.references, reference{s, n})
	defer func() { c.references = c.references[:len(c.references)-1] }()
	return c.check(s, n, seen)
}

// checkAlternatives is anyOf, and with one also oneOf. What is wrong is told
// of the alternative that went furthest into the value: most likely it is the
// one that was meant.
func (c *checker) checkAlternatives(schemas []*jsonschema.Schema, one bool, n *instance, seen *evaluated) *Violation {
	if len(schemas) == 0 {
		return nil
	}
	matched := 0
	var nearest *Violation
	for _, schema := range schemas {
		branch := seen.fork()
		if v := c.check(schema, n, branch); v != nil {
			if nearest == nil || len(v.at) > len(nearest.at) {
				nearest, v = v, nearest
			}
			if v != nil {
				c.spare = append(c.spare, v)
			}
			continue
		}
		seen.merge(branch)
		if matched++; !one && seen == nil {
			return nil
		}
	}
	switch {
	case one && matched > 1:
		return wrong("has more than one of the allowed forms")
	case matched > 0:
		return nil
	case len(nearest.at) == 0 && len(schemas) > 1:
		return wrong("has none of the allowed forms")
	}
	return nearest
}

// fork is a new account if e keeps one.
func (e *evaluated) fork() *evaluated {
	if e == nil {
		return nil
	}
	return new(evaluated)
}

// checkCondition is if, then and else.
func (c *checker) checkCondition(s *jsonschema.Schema, n *instance, seen *evaluated) *Violation {
	if s.If == nil {
		return nil
	}
	next, branch := s.Else, seen.fork()
	if c.check(s.If, n, branch) == nil {
		next = s.Then
		seen.merge(branch)
	}
	if next == nil {
		return nil
	}
	return c.check(next, n, seen)
}

func (c *checker) checkUnevaluated(s *jsonschema.Schema, n *instance, seen *evaluated) *Violation {
	for i := range n.items {
		switch {
		case n.kind == rawjson.KindObject && s.UnevaluatedProperties != nil && !seen.keys[n.key(i)]:
			if v := c.check(s.UnevaluatedProperties, &n.items[i], nil); v != nil {
				return v.in(n.key(i))
			}
			seen.key(n.key(i))
		case n.kind == rawjson.KindArray && s.UnevaluatedItems != nil && !seen.items[i]:
			if v := c.check(s.UnevaluatedItems, &n.items[i], nil); v != nil {
				return v.in(strconv.Itoa(i))
			}
			seen.item(i)
		}
	}
	return nil
}
