package rules

import (
	"bytes"
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-realtime/realtime/internal/rawjson"
)

// instance is a value of a client as a schema sees it. It is immutable.
type instance struct {
	kind    rawjson.Kind
	raw     []byte
	text    string     // of a string
	num     int64      // of a number with isInt
	isInt   bool       // it is written as an int64
	items   []instance // of an array, or the values of an object
	members *object    // of an object: its keys, each once
}

// newInstance decodes raw, which is within the limits of what is read.
func newInstance(raw []byte, bins [][]byte) (n instance, err error) {
	n = instance{kind: rawjson.KindOf(raw), raw: raw}
	switch n.kind {
	case rawjson.KindString:
		n.text = rawjson.String(raw)
	case rawjson.KindNumber:
		n.num, _, n.isInt, err = number(raw)
	case rawjson.KindArray:
		n.items = make([]instance, 0, arrayLen(raw))
		for it := rawjson.Array(raw); it.Next() && err == nil; {
			err = n.add(it.Value(), bins)
		}
	case rawjson.KindObject:
		if _, binary := attachment(raw, bins); binary {
			return n, errBinary
		}
		if n.members, err = newObject(raw, bins); err != nil {
			return n, err
		}
		n.items = make([]instance, 0, len(n.members.members))
		for i := 0; i < len(n.members.members) && err == nil; i++ {
			err = n.add(n.members.members[i].raw, bins)
		}
	}
	return n, err
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
func (n *instance) key(i int) string { return n.members.members[i].key }

// has reports whether an object has the key.
func (n *instance) has(key string) bool { return n.members.find(key) >= 0 }

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
