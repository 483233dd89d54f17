package rules

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

// celValue is the CEL value of JSON. Objects and arrays are split one level
// deep; what they hold stays JSON until CEL touches it. bins are the
// attachments that placeholders stand for, nil if they have no meaning.
func celValue(raw []byte, bins [][]byte) ref.Val {
	switch rawjson.KindOf(raw) {
	case rawjson.KindNull:
		return types.NullValue
	case rawjson.KindBool:
		return types.Bool(raw[0] == 't')
	case rawjson.KindNumber:
		return celNumber(raw)
	case rawjson.KindString:
		return types.String(rawjson.String(raw))
	case rawjson.KindArray:
		return newList(raw, bins)
	default:
		if b, ok := parser.Attachment(raw, bins); ok {
			return types.Bytes(b)
		}
		o, err := newObject(raw, bins)
		if err != nil {
			return types.WrapErr(err)
		}
		return o
	}
}

func celNumber(raw []byte) ref.Val {
	i, f, isInt, err := number(raw)
	switch {
	case err != nil:
		return types.WrapErr(err)
	case isInt:
		return types.Int(i)
	default:
		return types.Double(f)
	}
}

// object is a JSON object as a CEL map that keeps the order of its keys, or
// what merge makes of two. It is immutable but for its index, and belongs to
// one evaluation.
type object struct {
	members []member
	index   map[string]int // of many members, once one was looked up
	raw     []byte         // its JSON, nil if it was made
	bins    [][]byte       // of raw
}

// member is a key with its value: JSON, or a CEL value, or what an emitter
// will write.
type member struct {
	key  string
	raw  []byte
	bins [][]byte // of raw
	val  ref.Val
	emit emitter // never in an object that CEL sees
}

// manyMembers is the size from which an object looks keys up in an index.
const manyMembers = 12

// newObject splits an object; two equal keys are an error.
func newObject(raw []byte, bins [][]byte) (*object, error) {
	if err := checkMembers(raw); err != nil {
		return nil, err
	}
	n := 0
	for it := rawjson.Object(raw); it.Next(); {
		n++
	}
	o := &object{raw: raw, bins: bins, members: make([]member, 0, n)}
	for it := rawjson.Object(raw); it.Next(); {
		if !o.add(member{key: rawjson.String(it.Key()), raw: it.Value(), bins: bins}) {
			return nil, errDuplicate
		}
	}
	return o, nil
}

// checkMembers returns an error for a large object of so many members that
// looking for equal keys costs much more than passing its bytes on.
func checkMembers(raw []byte) error {
	if len(raw) <= maxRead {
		return nil
	}
	n := 0
	for it := rawjson.Object(raw); it.Next(); n++ {
		if n == maxMembers {
			return errTooLarge
		}
	}
	return nil
}

// checkKeys returns an error unless each key of the object v is there once.
func (v value) checkKeys() error {
	if err := checkMembers(v.raw); err != nil {
		return err
	}
	if rawjson.CheckKeys(v.raw) != nil {
		return errDuplicate
	}
	return nil
}

// add appends a member and reports whether its key was new.
func (o *object) add(m member) bool {
	if o.find(m.key) >= 0 {
		return false
	}
	if o.index != nil {
		o.index[m.key] = len(o.members)
	}
	o.members = append(o.members, m)
	return true
}

func (o *object) find(key string) int {
	if o.index == nil && len(o.members) >= manyMembers {
		o.index = make(map[string]int, cap(o.members))
		for i := range o.members {
			o.index[o.members[i].key] = i
		}
	}
	if o.index != nil {
		if i, ok := o.index[key]; ok {
			return i
		}
		return -1
	}
	for i := range o.members {
		if o.members[i].key == key {
			return i
		}
	}
	return -1
}

func (o *object) value(i int) ref.Val {
	m := &o.members[i]
	if m.val == nil {
		return celValue(m.raw, m.bins)
	}
	return m.val
}

// merge is the function of rules: each key once, right wins; the
// keys of left keep their places, new ones follow.
func merge(left, right *object) *object {
	o := &object{members: make([]member, 0, len(left.members)+len(right.members))}
	for _, m := range left.members {
		if i := right.find(m.key); i >= 0 {
			m = right.members[i]
		}
		o.members = append(o.members, m)
	}
	for _, m := range right.members {
		if left.find(m.key) < 0 {
			o.members = append(o.members, m)
		}
	}
	return o
}

// objectOf makes an object of any CEL map with string keys.
func objectOf(v ref.Val) (*object, error) {
	if o, ok := v.(*object); ok {
		return o, nil
	}
	m, ok := v.(traits.Mapper)
	if !ok {
		return nil, invalid("merge of what is no map")
	}
	o := &object{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		key, ok := k.(types.String)
		if !ok {
			return nil, errKey
		}
		o.add(member{key: string(key), val: m.Get(k)})
	}
	// CEL's own maps have no order.
	slices.SortFunc(o.members, func(a, b member) int { return strings.Compare(a.key, b.key) })
	o.index = nil
	return o, nil
}

func (o *object) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a map cannot become a %v", t)
}

func (o *object) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.MapType:
		return o
	case types.TypeType:
		return types.MapType
	}
	return types.NewErr("a map cannot become a %s", t.TypeName())
}

func (o *object) Equal(other ref.Val) ref.Val {
	m, ok := other.(traits.Mapper)
	if !ok || m.Size() != o.Size() {
		return types.False
	}
	for i := range o.members {
		found, ok := m.Find(types.String(o.members[i].key))
		if !ok {
			return types.False
		}
		if eq := types.Equal(o.value(i), found); eq != types.True {
			return eq
		}
	}
	return types.True
}

func (o *object) Type() ref.Type { return types.MapType }
func (o *object) Value() any     { return o }
func (o *object) Size() ref.Val  { return types.Int(len(o.members)) }

func (o *object) Contains(key ref.Val) ref.Val {
	v, found := o.Find(key)
	if v != nil && types.IsUnknownOrError(v) {
		return v
	}
	return types.Bool(found)
}

func (o *object) Find(key ref.Val) (ref.Val, bool) {
	if types.IsUnknownOrError(key) {
		return key, false
	}
	s, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	i := o.find(string(s))
	if i < 0 {
		return nil, false
	}
	return o.value(i), true
}

func (o *object) Get(key ref.Val) ref.Val {
	v, found := o.Find(key)
	if !found {
		return types.ValOrErr(v, "no such key")
	}
	return v
}

func (o *object) Iterator() traits.Iterator {
	return &iterator{n: len(o.members), at: func(i int) ref.Val { return types.String(o.members[i].key) }}
}

// list is a JSON array as a CEL list. It is immutable.
type list struct {
	raw   []byte
	elems [][]byte
	bins  [][]byte
}

func newList(raw []byte, bins [][]byte) *list {
	l := &list{raw: raw, bins: bins}
	for it := rawjson.Array(raw); it.Next(); {
		l.elems = append(l.elems, it.Value())
	}
	return l
}

func (l *list) at(i int) ref.Val { return celValue(l.elems[i], l.bins) }

func (l *list) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a list cannot become a %v", t)
}

func (l *list) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.ListType:
		return l
	case types.TypeType:
		return types.ListType
	}
	return types.NewErr("a list cannot become a %s", t.TypeName())
}

func (l *list) Equal(other ref.Val) ref.Val {
	o, ok := other.(traits.Lister)
	if !ok || o.Size() != l.Size() {
		return types.False
	}
	it := o.Iterator()
	for i := range l.elems {
		if eq := types.Equal(l.at(i), it.Next()); eq != types.True {
			return eq
		}
	}
	return types.True
}

func (l *list) Type() ref.Type { return types.ListType }
func (l *list) Value() any     { return l }
func (l *list) Size() ref.Val  { return types.Int(len(l.elems)) }

func (l *list) Add(other ref.Val) ref.Val {
	vals := make([]ref.Val, len(l.elems))
	for i := range vals {
		vals[i] = l.at(i)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals).(traits.Adder).Add(other)
}

func (l *list) Contains(elem ref.Val) ref.Val {
	if types.IsUnknownOrError(elem) {
		return elem
	}
	for i := range l.elems {
		if types.Equal(elem, l.at(i)) == types.True {
			return types.True
		}
	}
	return types.False
}

func (l *list) Get(index ref.Val) ref.Val {
	i, err := types.IndexOrError(index)
	if err != nil {
		return types.WrapErr(err)
	}
	if i < 0 || i >= len(l.elems) {
		return types.WrapErr(errNoElement)
	}
	return l.at(i)
}

func (l *list) Iterator() traits.Iterator { return &iterator{n: len(l.elems), at: l.at} }

// iterator walks a list's elements or a map's keys. Only its methods as an
// iterator are ever used.
type iterator struct {
	ref.Val
	next, n int
	at      func(int) ref.Val
}

func (it *iterator) HasNext() ref.Val { return types.Bool(it.next < it.n) }

func (it *iterator) Next() ref.Val {
	if it.next >= it.n {
		return nil
	}
	it.next++
	return it.at(it.next - 1)
}

var (
	_ traits.Mapper = (*object)(nil)
	_ traits.Lister = (*list)(nil)
)
