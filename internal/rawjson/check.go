package rawjson

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// MaxDepth is the deepest nesting that Check can be asked to allow.
const MaxDepth = 1024

// SyntaxError says what is wrong with a JSON text, and where.
type SyntaxError struct {
	What   string // fixed text
	Offset int    // of the first offending byte
}

func (e *SyntaxError) Error() string {
	return e.What + " at offset " + strconv.Itoa(e.Offset)
}

const (
	errEnd     = "unexpected end of JSON"
	errValue   = "not a JSON value"
	errNumber  = "malformed number"
	errEscape  = "malformed escape in string"
	errControl = "control character in string"
	errUTF8    = "invalid UTF-8"
	errKey     = "object key expected"
	errColon   = "colon expected"
	errNext    = "comma or closing bracket expected"
	errAfter   = "data after the JSON value"
	errDepth   = "nested too deep"
	errArray   = "not an array"
)

// Check reports, as a *SyntaxError, why b is not exactly one JSON value with
// optional white space around it, in valid UTF-8 and nested at most maxDepth
// deep (a scalar is 0 deep, [] is 1 deep). Escaped lone surrogates and
// repeated object keys are accepted. It takes linear time and no memory.
func Check(b []byte, maxDepth int) error {
	_, err := check(b, maxDepth)
	return err
}

// CheckArray is Check for a value that must be an array; n is the number of
// its elements.
func CheckArray(b []byte, maxDepth int) (n int, err error) {
	if i := Space(b, 0); i < len(b) && b[i] != '[' {
		return 0, &SyntaxError{errArray, i}
	}
	return check(b, maxDepth)
}

// check does Check and counts the members of the outermost array or object.
// It keeps one bit for each open bracket instead of a stack, since depth is
// the client's choice.
func check(b []byte, maxDepth int) (members int, err error) {
	var objects [MaxDepth/64 + 1]uint64 // bit d: the bracket at depth d is a brace
	maxDepth = min(maxDepth, MaxDepth)
	depth, what := 0, ""

	i := Space(b, 0)
value: // i is where a value must begin
	for {
		if i == len(b) {
			return 0, &SyntaxError{errEnd, i}
		}
		switch c := b[i]; c {
		case '"':
			i, what = checkString(b, i+1)
		case '[', '{':
			if depth == maxDepth {
				return 0, &SyntaxError{errDepth, i}
			}
			i = Space(b, i+1)
			if i < len(b) && b[i] == c+2 { // both closing brackets lie two after
				i++
				break
			}
			depth++
			objects[depth/64] &^= 1 << (depth % 64)
			if c == '{' {
				objects[depth/64] |= 1 << (depth % 64)
				i, what = checkKey(b, i)
			}
			if what != "" {
				return 0, &SyntaxError{what, i}
			}
			if depth == 1 {
				members++
			}
			continue
		default:
			i, what = checkScalar(b, i)
		}
		if what != "" {
			return 0, &SyntaxError{what, i}
		}

		for { // a value has ended before i
			i = Space(b, i)
			if depth == 0 {
				if i < len(b) {
					return 0, &SyntaxError{errAfter, i}
				}
				return members, nil
			}
			if i == len(b) {
				return 0, &SyntaxError{errEnd, i}
			}
			object := objects[depth/64]>>(depth%64)&1 != 0
			switch {
			case b[i] == ',' && object:
				i, what = checkKey(b, Space(b, i+1))
				if what != "" {
					return 0, &SyntaxError{what, i}
				}
			case b[i] == ',':
				i = Space(b, i+1)
			case b[i] == ']' && !object, b[i] == '}' && object:
				i++
				depth--
				continue
			default:
				return 0, &SyntaxError{errNext, i}
			}
			if depth == 1 {
				members++
			}
			continue value
		}
	}
}

// checkKey takes an object's key and colon and returns where its value must
// begin. Like its siblings below it returns what is wrong, or "".
func checkKey(b []byte, i int) (next int, what string) {
	if i == len(b) {
		return i, errEnd
	}
	if b[i] != '"' {
		return i, errKey
	}
	if i, what = checkString(b, i+1); what != "" {
		return i, what
	}
	i = Space(b, i)
	if i == len(b) {
		return i, errEnd
	}
	if b[i] != ':' {
		return i, errColon
	}
	return Space(b, i+1), ""
}

// checkString takes a string whose opening quote lies before i.
func checkString(b []byte, i int) (next int, what string) {
	for {
		i = skipPlain(b, i)
		if i == len(b) {
			return i, errEnd
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, ""
		case c == '\\':
			n := escapeLen(b[i:])
			if n == 0 {
				return i, errEscape
			}
			i += n
		case c < ' ':
			return i, errControl
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return i, errUTF8
			}
			i += n
		}
	}
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// skipPlain returns the index of the first byte at or after i that is a quote,
// a backslash, a control character or not ASCII.
func skipPlain(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		// The subtractions set the high bit of a byte that is below ' ', or
		// equal to a quote or a backslash. They may borrow from the byte
		// above such a byte, but the lowest bit set is right.
		m := (w | (w - ' '*ones) | ((w ^ '"'*ones) - ones) | ((w ^ '\\'*ones) - ones)) & highs
		if m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] < utf8.RuneSelf && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// escapeLen is the length of the escape that b begins with, 0 if malformed.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b[2:]); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads the four digits of a \u escape.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func checkScalar(b []byte, i int) (next int, what string) {
	switch c := b[i]; {
	case c == '-' || isDigit(c):
		return checkNumber(b, i)
	case c == 't':
		return checkWord(b, i, "true")
	case c == 'f':
		return checkWord(b, i, "false")
	case c == 'n':
		return checkWord(b, i, "null")
	default:
		return i, errValue
	}
}

func checkWord(b []byte, i int, word string) (next int, what string) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, errValue
	}
	return i + len(word), ""
}

func checkNumber(b []byte, i int) (next int, what string) {
	if b[i] == '-' {
		i++
	}
	start := i
	if i = skipDigits(b, i); i == start || i > start+1 && b[start] == '0' {
		return start, errNumber
	}
	if i < len(b) && b[i] == '.' {
		start = i + 1
		if i = skipDigits(b, start); i == start {
			return i, errNumber
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start = i
		if i = skipDigits(b, start); i == start {
			return i, errNumber
		}
	}
	return i, ""
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i
}

func isDigit(c byte) bool { return c-'0' <= 9 }
