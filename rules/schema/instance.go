package schema

import (
	"bytes"
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

// instance is a value of a client as a schema sees it. It is immutable.
type instance struct {
	kind   rawjson.Kind
	raw    []byte
	text   string         // of a string
	num    int64          // of a number with isInt
	isInt  bool           // it is written as an int64
	items  []instance     // of an array, or the values of an object
	keys   []string       // of an object, each once, in the order of items
	places map[string]int // of an object: the indexes of its keys, if they are many
}

// manyKeys is the number of keys from which an object looks them up in a map.
const manyKeys = 12

// newInstance decodes raw, a JSON text of bounded size and depth.
func newInstance(raw []byte, bins [][]byte) (n instance, err error) {
	n = instance{kind: rawjson.KindOf(raw), raw: raw}
	switch n.kind {
	case rawjson.KindString:
		n.text = rawjson.String(raw)
	case rawjson.KindNumber:
		var ok bool
		if n.num, _, n.isInt, ok = rawjson.Number(raw); !ok {
			err = errNumber
		}
	case rawjson.KindArray:
		n.items = make([]instance, 0, arrayLen(raw))
		for it := rawjson.Array(raw); it.Next() && err == nil; {
			err = n.add(it.Value(), bins)
		}
	case rawjson.KindObject:
		if _, binary := parser.Attachment(raw, bins); binary {
			return n, errBinary
		}
		err = n.addMembers(raw, bins)
	}
	return n, err
}

func (n *instance) addMembers(raw []byte, bins [][]byte) error {
	size := objectLen(raw)
	n.items, n.keys = make([]instance, 0, size), make([]string, 0, size)
	if size >= manyKeys {
		n.places = make(map[string]int, size)
	}
	for it := rawjson.Object(raw); it.Next(); {
		key := rawjson.String(it.Key())
		if n.has(key) {
			return errDuplicate
		}
		if n.places != nil {
			n.places[key] = len(n.keys)
		}
		n.keys = append(n.keys, key)
		if err := n.add(it.Value(), bins); err != nil {
			return err
		}
	}
	return nil
}

func objectLen(raw []byte) (n int) {
	for it := rawjson.Object(raw); it.Next(); {
		n++
	}
	return n
}

func arrayLen(raw []byte) (n int) {
	for it := rawjson.Array(raw); it.Next(); {
		n++
	}
	return n
}

func (n *instance) add(raw []byte, bins [][]byte) error {
	item, err := newInstance(raw, bins)
	n.items = append(n.items, item)
	return err
}

// key is the name of the i-th member of an object.
func (n *instance) key(i int) string { return n.keys[i] }

// has reports whether an object has the key.
func (n *instance) has(key string) bool {
	if n.places != nil {
		_, ok := n.places[key]
		return ok
	}
	return slices.Contains(n.keys, key)
}

// rat is the exact value of a number.
func (n *instance) rat() *big.Rat {
	if n.isInt {
		return new(big.Rat).SetInt64(n.num)
	}
	return exact(string(n.raw))
}

// exact is the value of a number as JSON writes it.
func exact(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return new(big.Rat) // not of JSON's grammar, which was checked
	}
	return r
}

// isInteger is JSON Schema's sense of it: 1.0 is one.
func (n *instance) isInteger() bool { return n.isInt || n.rat().IsInt() }

// equal compares with a value of a schema, as encoding/json decodes it.
func (n *instance) equal(v any) bool {
	switch v := v.(type) {
	case nil:
		return n.kind == rawjson.KindNull
	case bool:
		return n.kind == rawjson.KindBool && (n.raw[0] == 't') == v
	case string:
		return n.kind == rawjson.KindString && n.text == v
	case json.Number:
		return n.kind == rawjson.KindNumber && n.equalNumber(v.String())
	case []any:
		return n.kind == rawjson.KindArray && slices.EqualFunc(n.items, v, func(a instance, b any) bool { return a.equal(b) })
	case map[string]any:
		return n.equalObject(v)
	}
	return false
}

func (n *instance) equalNumber(text string) bool {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil && n.isInt {
		return i == n.num
	}
	return n.rat().Cmp(exact(text)) == 0
}

func (n *instance) equalObject(v map[string]any) bool {
	if n.kind != rawjson.KindObject || len(n.items) != len(v) {
		return false
	}
	for i := range n.items {
		if want, ok := v[n.key(i)]; !ok || !n.items[i].equal(want) {
			return false
		}
	}
	return true
}

// appendCanonical writes the same text for equal values, and another for
// others.
func (n *instance) appendCanonical(dst []byte) []byte {
	switch n.kind {
	case rawjson.KindNumber:
		return append(dst, n.rat().RatString()...)
	case rawjson.KindString:
		return rawjson.AppendQuote(dst, n.text)
	case rawjson.KindArray:
		dst = append(dst, '[')
		for i := range n.items {
			dst = append(n.items[i].appendCanonical(dst), ',')
		}
		return append(dst, ']')
	case rawjson.KindObject:
		dst = append(dst, '{')
		for _, i := range n.sorted() {
			dst = append(rawjson.AppendQuote(dst, n.key(i)), ':')
			dst = append(n.items[i].appendCanonical(dst), ',')
		}
		return append(dst, '}')
	}
	return append(dst, bytes.TrimSpace(n.raw)...)
}

// sorted are the indexes of an object's members in the order of their keys.
func (n *instance) sorted() []int {
	order := make([]int, len(n.items))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(n.key(a), n.key(b)) })
	return order
}
