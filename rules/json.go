package rules

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

// An emitter is a compiled expression that can write its value as JSON.
type emitter interface {
	// emit appends one JSON value.
	emit(r *run, b *parser.Builder) error
	// object is the value as an object; an error if it is none.
	object(r *run) (*object, error)
}

// constant is a value known when the config loads.
type constant struct {
	val  ref.Val
	json []byte
}

func newConstant(v ref.Val) (*constant, error) {
	var b parser.Builder
	if err := appendVal(&b, v, maxMade); err != nil {
		return nil, err
	}
	return &constant{val: v, json: b.JSON}, nil
}

func (c *constant) emit(_ *run, b *parser.Builder) error {
	b.JSON = append(b.JSON, c.json...)
	return nil
}

func (c *constant) object(*run) (*object, error) { return objectOf(c.val) }

// emit passes the client's own bytes on.
func (p *path) emit(r *run, b *parser.Builder) error {
	v, err := p.resolve(r)
	if err != nil {
		return err
	}
	v.emit(b)
	return nil
}

func (p *path) object(r *run) (*object, error) {
	v, err := p.resolve(r)
	if err != nil {
		return nil, err
	}
	if v.kind != rawValue || rawjson.KindOf(v.raw) != rawjson.KindObject || v.isBinary() {
		return nil, errNoField
	}
	return newObject(v.raw, v.bins)
}

func (v value) emit(b *parser.Builder) {
	switch v.kind {
	case stringValue:
		b.JSON = rawjson.AppendQuote(b.JSON, v.str)
	case intValue:
		b.JSON = strconv.AppendInt(b.JSON, v.num, 10)
	default:
		b.AddRaw(v.raw, v.bins)
	}
}

// mapLiteral is a map literal with constant keys: its values are written where
// they stand, in the order of the source.
type mapLiteral struct {
	keys   []string
	quoted [][]byte // with the comma or brace before and the colon behind
	values []emitter
}

func (m *mapLiteral) add(key string, v emitter) {
	before := byte(',')
	if len(m.keys) == 0 {
		before = '{'
	}
	m.keys = append(m.keys, key)
	m.quoted = append(m.quoted, append(rawjson.AppendQuote([]byte{before}, key), ':'))
	m.values = append(m.values, v)
}

func (m *mapLiteral) emit(r *run, b *parser.Builder) error {
	if len(m.keys) == 0 {
		b.JSON = append(b.JSON, "{}"...)
		return nil
	}
	for i, v := range m.values {
		b.JSON = append(b.JSON, m.quoted[i]...)
		if err := v.emit(r, b); err != nil {
			return err
		}
	}
	b.JSON = append(b.JSON, '}')
	return nil
}

func (m *mapLiteral) object(*run) (*object, error) {
	o := &object{members: make([]member, 0, len(m.keys))}
	for i, v := range m.values {
		o.add(member{key: m.keys[i], emit: v})
	}
	return o, nil
}

// listLiteral is a list literal.
type listLiteral []emitter

func (l listLiteral) emit(r *run, b *parser.Builder) error {
	b.JSON = append(b.JSON, '[')
	for i, v := range l {
		if i > 0 {
			b.JSON = append(b.JSON, ',')
		}
		if err := v.emit(r, b); err != nil {
			return err
		}
	}
	b.JSON = append(b.JSON, ']')
	return nil
}

func (listLiteral) object(*run) (*object, error) { return nil, errNoField }

// choice is `c ? a : b`.
type choice struct {
	when      condition
	then, els emitter
}

func (c *choice) pick(r *run) (emitter, error) {
	ok, err := c.when(r)
	if ok {
		return c.then, err
	}
	return c.els, err
}

func (c *choice) emit(r *run, b *parser.Builder) error {
	e, err := c.pick(r)
	if err != nil {
		return err
	}
	return e.emit(r, b)
}

func (c *choice) object(r *run) (*object, error) {
	e, err := c.pick(r)
	if err != nil {
		return nil, err
	}
	return e.object(r)
}

// merging is `merge(left, right)`.
type merging struct{ left, right emitter }

func (m *merging) object(r *run) (*object, error) {
	left, err := m.left.object(r)
	if err != nil {
		return nil, err
	}
	right, err := m.right.object(r)
	if err != nil {
		return nil, err
	}
	return merge(left, right), nil
}

func (m *merging) emit(r *run, b *parser.Builder) error {
	if p, ok := m.left.(*path); ok {
		if lit, ok := m.right.(*mapLiteral); ok && len(lit.keys) <= 64 {
			return p.extend(r, b, lit)
		}
	}
	o, err := m.object(r)
	if err != nil {
		return err
	}
	return o.emit(r, b, len(b.JSON)+maxMade)
}

// extend writes what merge makes of the selected object and a literal, the most
// common merge, without taking the object apart.
func (p *path) extend(r *run, b *parser.Builder, lit *mapLiteral) error {
	v, err := p.resolve(r)
	if err != nil {
		return err
	}
	if v.kind != rawValue || rawjson.KindOf(v.raw) != rawjson.KindObject || v.isBinary() {
		return errNoField
	}
	if err := v.checkKeys(); err != nil {
		return err
	}
	var written uint64 // keys of lit, as bits; it has at most 64
	sep := byte('{')
	for it := rawjson.Object(v.raw); it.Next(); sep = ',' {
		b.JSON = append(append(append(b.JSON, sep), it.Key()...), ':')
		i := lit.find(it.Key())
		if i < 0 {
			b.AddRaw(it.Value(), v.bins)
			continue
		}
		written |= 1 << i
		if err := lit.values[i].emit(r, b); err != nil {
			return err
		}
	}
	for i, value := range lit.values {
		if written&(1<<i) != 0 {
			continue
		}
		b.JSON = append(append(b.JSON, sep), lit.quoted[i][1:]...)
		sep = ','
		if err := value.emit(r, b); err != nil {
			return err
		}
	}
	if sep == '{' {
		b.JSON = append(b.JSON, '{')
	}
	b.JSON = append(b.JSON, '}')
	return nil
}

// find returns the index of a quoted key, or -1.
func (m *mapLiteral) find(quoted []byte) int {
	return slices.IndexFunc(m.keys, func(key string) bool { return rawjson.EqualString(quoted, key) })
}

// emit writes o; r may be nil if no member needs it. The builder may grow to
// end, and a value beyond.
func (o *object) emit(r *run, b *parser.Builder, end int) error {
	if o.raw != nil {
		b.AddRaw(o.raw, o.bins)
		return nil
	}
	b.JSON = append(b.JSON, '{')
	for i := range o.members {
		m := &o.members[i]
		if i > 0 {
			b.JSON = append(b.JSON, ',')
		}
		b.JSON = append(rawjson.AppendQuote(b.JSON, m.key), ':')
		var err error
		switch {
		case m.emit != nil:
			err = m.emit.emit(r, b)
		case m.val != nil:
			err = appendVal(b, m.val, end)
		default:
			b.AddRaw(m.raw, m.bins)
		}
		if err != nil {
			return err
		}
	}
	b.JSON = append(b.JSON, '}')
	return nil
}

// appendVal writes what CEL made, up to end as object.emit. Whatever of it was
// JSON keeps its bytes.
func appendVal(b *parser.Builder, v ref.Val, end int) error {
	if len(b.JSON) > end {
		return errTooLong
	}
	switch v := v.(type) {
	case types.String:
		b.JSON = rawjson.AppendQuote(b.JSON, string(v))
	case types.Int:
		b.JSON = strconv.AppendInt(b.JSON, int64(v), 10)
	case types.Uint:
		b.JSON = strconv.AppendUint(b.JSON, uint64(v), 10)
	case types.Double:
		return appendDouble(b, float64(v))
	case types.Bool:
		b.JSON = strconv.AppendBool(b.JSON, bool(v))
	case types.Null:
		b.JSON = append(b.JSON, rawNull...)
	case types.Bytes:
		b.AddBytes(v)
	case types.Timestamp:
		b.JSON = rawjson.AppendQuote(b.JSON, v.Time.UTC().Format(time.RFC3339Nano))
	case types.Duration:
		b.JSON = rawjson.AppendQuote(b.JSON, v.Duration.String())
	case *list:
		return v.emit(b)
	case *object:
		return v.emit(nil, b, end)
	case traits.Mapper:
		return appendMap(b, v, end)
	case traits.Lister:
		return appendList(b, v, end)
	case *types.Err:
		return v
	default:
		return errNoJSON
	}
	return nil
}

// appendDouble writes a double as JavaScript's JSON.stringify does.
func appendDouble(b *parser.Builder, f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return errNoJSON
	}
	text, err := json.Marshal(f)
	b.JSON = append(b.JSON, text...)
	return err
}

func appendList(b *parser.Builder, l traits.Lister, end int) error {
	b.JSON = append(b.JSON, '[')
	first := true
	for it := l.Iterator(); it.HasNext() == types.True; {
		if !first {
			b.JSON = append(b.JSON, ',')
		}
		first = false
		if err := appendVal(b, it.Next(), end); err != nil {
			return err
		}
	}
	b.JSON = append(b.JSON, ']')
	return nil
}

// appendMap writes a map of CEL's, which has no order, in that of its keys.
func appendMap(b *parser.Builder, m traits.Mapper, end int) error {
	var keys []string
	for it := m.Iterator(); it.HasNext() == types.True; {
		key, ok := it.Next().(types.String)
		if !ok {
			return errKey
		}
		keys = append(keys, string(key))
	}
	slices.SortFunc(keys, strings.Compare)
	b.JSON = append(b.JSON, '{')
	for i, key := range keys {
		if i > 0 {
			b.JSON = append(b.JSON, ',')
		}
		b.JSON = append(rawjson.AppendQuote(b.JSON, key), ':')
		if err := appendVal(b, m.Get(types.String(key)), end); err != nil {
			return err
		}
	}
	b.JSON = append(b.JSON, '}')
	return nil
}

func (l *list) emit(b *parser.Builder) error {
	b.AddRaw(l.raw, l.bins)
	return nil
}
