package rawjson

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
)

// Kind is the type of a JSON value.
type Kind uint8

const (
	KindNull Kind = iota
	KindBool
	KindNumber
	KindString
	KindArray
	KindObject
)

// KindOf returns the type of the value v.
func KindOf(v []byte) Kind {
	i := Space(v, 0)
	if i == len(v) {
		return KindNull
	}
	switch v[i] {
	case 'n':
		return KindNull
	case 't', 'f':
		return KindBool
	case '"':
		return KindString
	case '[':
		return KindArray
	case '{':
		return KindObject
	default:
		return KindNumber
	}
}

// Space returns the index of the first byte at or after i that is not white
// space, len(b) if there is none.
func Space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// Trim returns v without the white space around it.
func Trim(v []byte) []byte {
	v = v[Space(v, 0):]
	for n := len(v); n > 0; n-- {
		if c := v[n-1]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return v[:n]
		}
	}
	return v[:0]
}

// End returns the index just after the value that begins at b[i].
func End(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = endString(b, i)
		case '[', '{':
			depth++
			i++
			continue
		case ']', '}':
			depth--
			i++
		case ',', ':', ' ', '\n', '\r', '\t':
			i++
			continue
		default:
			i = endScalar(b, i)
		}
		if depth <= 0 {
			return i
		}
	}
	return i
}

// endString returns the index just after the string that begins at b[i].
func endString(b []byte, i int) int {
	i++
	for i < len(b) {
		if i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			quote, slash := w^'"'*ones, w^'\\'*ones
			m := ((quote-ones)&^quote | (slash-ones)&^slash) & highs
			if m == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(m) / 8
		}
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
		i++
	}
	return len(b)
}

// endScalar returns the index just after the number or word at b[i].
func endScalar(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case ',', ':', ']', '}', ' ', '\n', '\r', '\t':
			return i
		}
	}
	return i
}

// An ArrayIter walks values that are separated by commas:
//
//	for it := rawjson.List(b); it.Next(); {
//		use(it.Value())
//	}
type ArrayIter struct {
	b     []byte
	next  int
	value []byte
}

// List walks values that stand without brackets around them, as in Args.JSON;
// none in an empty list.
func List(list []byte) ArrayIter { return ArrayIter{b: list} }

// Array walks the elements of an array; of any other value, none.
func Array(array []byte) ArrayIter { return ArrayIter{b: inside(array, '[', ']')} }

// Next goes to the next value and reports whether there is one.
func (it *ArrayIter) Next() bool {
	start := Space(it.b, it.next)
	if start == len(it.b) {
		return false
	}
	end := End(it.b, start)
	it.value = it.b[start:end:end]
	it.next = skipByte(it.b, end, ',')
	return true
}

// Value is the present value, without white space around it.
func (it *ArrayIter) Value() []byte { return it.value }

// Rest is the list of the values after the present one, without white space
// around it.
func (it *ArrayIter) Rest() []byte { return Trim(it.b[it.next:]) }

// An ObjectIter walks the members of an object.
type ObjectIter struct {
	b          []byte
	next       int
	key, value []byte
}

// Object walks the members of an object in their order; of any other value,
// none.
func Object(object []byte) ObjectIter { return ObjectIter{b: inside(object, '{', '}')} }

// Next goes to the next member and reports whether there is one.
func (it *ObjectIter) Next() bool {
	start := Space(it.b, it.next)
	if start == len(it.b) {
		return false
	}
	end := End(it.b, start)
	it.key = it.b[start:end:end]
	start = Space(it.b, skipByte(it.b, end, ':'))
	end = End(it.b, start)
	it.value = it.b[start:end:end]
	it.next = skipByte(it.b, end, ',')
	return true
}

// Key is the present member's key, quoted.
func (it *ObjectIter) Key() []byte { return it.key }

// Value is the present member's value, without white space around it.
func (it *ObjectIter) Value() []byte { return it.value }

// inside returns what stands between the brackets of v, nil if v has others.
func inside(v []byte, open, close byte) []byte {
	v = Trim(v)
	if len(v) < 2 || v[0] != open || v[len(v)-1] != close {
		return nil
	}
	return v[1 : len(v)-1]
}

// skipByte returns the index after c, which may have white space before it.
func skipByte(b []byte, i int, c byte) int {
	if i = Space(b, i); i < len(b) && b[i] == c {
		i++
	}
	return i
}

// Index returns value i of a list.
func Index(list []byte, i int) (v []byte, ok bool) { return index(List(list), i) }

// IndexArray returns element i of an array; ok is false if there is none, or v
// is no array.
func IndexArray(array []byte, i int) (v []byte, ok bool) { return index(Array(array), i) }

func index(it ArrayIter, i int) (v []byte, ok bool) {
	for ; i >= 0 && it.Next(); i-- {
		if i == 0 {
			return it.Value(), true
		}
	}
	return nil, false
}

// ErrDuplicate means that an object has a key twice, so that two readers might
// take it for different values.
var ErrDuplicate = errors.New("object has a key twice")

// Field returns the value of the member of obj whose unescaped key is key.
// found is false if there is none, or obj is no object. If any two keys of obj
// (not of objects within it) are equal, the error is ErrDuplicate.
func Field(obj []byte, key string) (v []byte, found bool, err error) {
	var buf [fewKeys][]byte
	keys := buf[:0]
	for it := Object(obj); it.Next(); {
		keys = append(keys, unescaped(it.Key()))
		if string(keys[len(keys)-1]) == key {
			v, found = it.Value(), true
		}
	}
	if hasDuplicate(keys) {
		return nil, false, ErrDuplicate
	}
	return v, found, nil
}

// CheckKeys returns ErrDuplicate if obj is an object in which two keys are
// equal when unescaped. It does not look into objects within it.
func CheckKeys(obj []byte) error {
	var buf [fewKeys][]byte
	keys := buf[:0]
	for it := Object(obj); it.Next(); {
		keys = append(keys, unescaped(it.Key()))
	}
	if hasDuplicate(keys) {
		return ErrDuplicate
	}
	return nil
}

func unescaped(quoted []byte) []byte {
	if s, ok := Plain(quoted); ok {
		return s
	}
	return Unquote(nil, quoted)
}

// fewKeys is up to where comparing each key with each other is the fastest.
const fewKeys = 16

// hasDuplicate may change the order of keys.
func hasDuplicate(keys [][]byte) bool {
	if len(keys) > fewKeys {
		slices.SortFunc(keys, bytes.Compare)
		for i := 1; i < len(keys); i++ {
			if bytes.Equal(keys[i-1], keys[i]) {
				return true
			}
		}
		return false
	}
	for i, key := range keys {
		for _, other := range keys[:i] {
			if bytes.Equal(key, other) {
				return true
			}
		}
	}
	return false
}
