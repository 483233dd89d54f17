package rules

import (
	"errors"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/rawjson"
)

// What an expression may read, so that evaluating it takes bounded time. What
// is only passed on is not read.
const (
	maxRead    = 64 << 10  // bytes of JSON
	maxDepth   = 32        // levels of nesting
	maxString  = 256 << 10 // bytes of a string or of bytes that an expression makes
	maxMade    = 1 << 20   // bytes of JSON that a CEL value makes
	maxRooms   = 128       // rooms that one expression may name
	maxMembers = 1000      // of an object larger than maxRead that is selected from
)

const (
	msgInvalid  = "Invalid arguments"
	msgTooLarge = "Arguments too large"
)

var (
	errTooLarge = &hub.Refusal{Code: hub.TooLarge, Message: msgTooLarge, Cause: errors.New("an expression reads more than 64 KB")}
	errTooLong  = &hub.Refusal{Code: hub.TooLarge, Message: msgTooLarge, Cause: errors.New("an expression makes too long a string")}
	errTooSlow  = &hub.Refusal{Code: hub.TooLarge, Message: msgTooLarge, Cause: errors.New("an expression takes too long")}

	errDuplicate = invalid("an object has a key twice")
	errNumber    = invalid("a number is out of range")
	errNoField   = invalid("a field is selected from a value that is not an object")
	errNoElement = invalid("an element is selected that does not exist")
	errOrder     = invalid("values without an order are compared")
	errNotBool   = invalid("a condition must be true or false")
	errRoom      = invalid("a room must be a string, a whole number, an address or a list of them")
	errBinary    = invalid("binary data is not allowed here")
	errKey       = invalid("a key of a map must be a string")
	errNoJSON    = invalid("the value cannot be JSON")
)

// invalid is the refusal of a runtime error; only the debug log says why.
func invalid(cause string) *hub.Refusal {
	return &hub.Refusal{Code: hub.Invalid, Message: msgInvalid, Cause: errors.New(cause)}
}

// asRefusal finds the refusal in an error of an expression; another error is
// INVALID.
func asRefusal(err error) *hub.Refusal {
	var r *hub.Refusal
	if errors.As(err, &r) {
		return r
	}
	return &hub.Refusal{Code: hub.Invalid, Message: msgInvalid, Cause: err}
}

// value is what a selector finds: a piece of JSON where it lies, or a Go value
// that was never JSON.
type value struct {
	kind valueKind
	raw  []byte   // of rawValue: one JSON value without white space around it
	bins [][]byte // the attachments that placeholders in raw stand for, if any
	str  string   // of stringValue
	num  int64    // of intValue
}

type valueKind uint8

const (
	rawValue valueKind = iota
	stringValue
	intValue
)

var (
	rawNull  = []byte("null")
	rawTrue  = []byte("true")
	rawFalse = []byte("false")
)

func rawBool(b bool) []byte {
	if b {
		return rawTrue
	}
	return rawFalse
}

// number reads a JSON number as CEL has it: whole ones that fit are ints.
func number(raw []byte) (i int64, f float64, isInt bool, err error) {
	i, f, isInt, ok := rawjson.Number(raw)
	if !ok {
		err = errNumber
	}
	return i, f, isInt, err
}

// tooDeep reports whether brackets are nested deeper than max in raw.
func tooDeep(raw []byte, max int) bool {
	depth := 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = rawjson.End(raw, i) - 1
		case '[', '{':
			if depth++; depth > max {
				return true
			}
		case ']', '}':
			depth--
		}
	}
	return false
}
