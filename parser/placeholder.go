package parser

import (
	"bytes"
	"strconv"

	"github.com/caddy-realtime/realtime/internal/rawjson"
)

// mark is the key that makes an object a placeholder for a binary value.
const mark = "_placeholder"

// A placeholder stands at [start:end) of a JSON text for binary value num.
type placeholder struct {
	start, end int
	num        int
}

// nextPlaceholder finds the first placeholder at or after json[i]; found is
// false if there is none. An object that says that it is a placeholder but has
// another form than {"_placeholder":true,"num":N} is ErrPlaceholder: clients
// would take it for one. Finding all of them takes linear time.
func nextPlaceholder(json []byte, i int) (p placeholder, found bool, err error) {
	for i < len(json) {
		switch json[i] {
		case '{':
			if p, ok := parsePlaceholder(json, i); ok {
				return p, true, nil
			}
			i++
		case '"':
			end := rawjson.End(json, i)
			if rawjson.EqualString(json[i:end], mark) && isTrueMember(json, end) {
				return placeholder{}, false, ErrPlaceholder
			}
			i = end
		default:
			i++
		}
	}
	return placeholder{}, false, nil
}

// isTrueMember reports whether a string that ends before json[i] is a key
// whose value is true.
func isTrueMember(json []byte, i int) bool {
	i = rawjson.Space(json, i)
	if i == len(json) || json[i] != ':' {
		return false
	}
	i = rawjson.Space(json, i+1)
	return i < len(json) && json[i] == 't'
}

// parsePlaceholder reads the object that begins at json[i], and of an object
// that is no placeholder only the first key or two.
func parsePlaceholder(json []byte, i int) (p placeholder, ok bool) {
	p.start = i
	marked, numbered := false, false
	for _, after := range []byte{',', '}'} {
		i = rawjson.Space(json, i+1)
		if i == len(json) || json[i] != '"' {
			return p, false
		}
		keyEnd := rawjson.End(json, i)
		key := json[i:keyEnd]
		i = rawjson.Space(json, rawjson.Space(json, keyEnd)+1) // behind the colon
		switch {
		case rawjson.EqualString(key, mark) && isTrueMember(json, keyEnd):
			marked = true
		case rawjson.EqualString(key, "num"):
			if p.num, numbered = parseNum(json, i); !numbered {
				return p, false
			}
		default:
			return p, false
		}
		i = rawjson.Space(json, rawjson.End(json, i))
		if i == len(json) || json[i] != after {
			return p, false
		}
	}
	p.end = i + 1
	return p, marked && numbered
}

func parseNum(json []byte, i int) (n int, ok bool) {
	if i == len(json) || json[i] < '0' || json[i] > '9' {
		return 0, false
	}
	n64, ok := rawjson.IsInt(json[i:rawjson.End(json, i)])
	return int(n64), ok
}

// checkPlaceholders returns ErrPlaceholder unless the placeholders in json
// name each of n binary values exactly once.
func checkPlaceholders(json []byte, n int) error {
	seen := make([]bool, n)
	for i, left := 0, n; ; left-- {
		p, found, err := nextPlaceholder(json, i)
		if err != nil {
			return err
		}
		if !found && left == 0 {
			return nil
		}
		if !found || p.num >= n || seen[p.num] {
			return ErrPlaceholder
		}
		seen[p.num] = true
		i = p.end
	}
}

// LooksBinary reports whether JSON text without binary values has an object
// that says it is a placeholder. It is plain data, and cannot stand beside
// binary values: clients would take it for one.
func LooksBinary(json []byte) bool {
	if !bytes.Contains(json, []byte(mark)) && !bytes.Contains(json, []byte(`\u`)) {
		return false
	}
	_, found, err := nextPlaceholder(json, 0)
	return found || err != nil
}

// appendPlaceholder appends the placeholder for binary value num, with the key
// order of the stock clients.
func appendPlaceholder(dst []byte, num int) []byte {
	dst = append(dst, `{"`+mark+`":true,"num":`...)
	return append(strconv.AppendInt(dst, int64(num), 10), '}')
}
