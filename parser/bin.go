package parser

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"github.com/caddy-realtime/realtime/internal/rawjson"
)

// A rewriter copies a JSON text and replaces parts of it on the way.
type rewriter struct {
	dst, src []byte
	copied   int // bytes of src
}

// replace copies up to src[start]. The caller then appends to dst what stands
// for src[start:end].
func (r *rewriter) replace(start, end int) {
	r.dst = append(r.dst, r.src[r.copied:start]...)
	r.copied = end
}

// finish copies what is left.
func (r *rewriter) finish() []byte { return append(r.dst, r.src[r.copied:]...) }

// plainArgsLen is about the number of bytes that appendPlainArgs will append.
func plainArgsLen(a Args) int {
	n := len(a.JSON)
	for _, v := range a.Bin {
		n += base64.StdEncoding.EncodedLen(len(v))
	}
	return n
}

// appendPlainArgs writes placeholders as {"$bin": base64} and gives every key
// that looks like $bin a dollar more.
func appendPlainArgs(dst []byte, a Args) []byte {
	dst = append(dst, `,"args":[`...)
	if len(a.Bin) == 0 && !mayHaveBinKey(a.JSON) {
		return append(append(dst, a.JSON...), ']')
	}
	r := rewriter{dst: dst, src: a.JSON}
	for i := 0; i < len(a.JSON); {
		switch a.JSON[i] {
		case '{':
			p, ok := parsePlaceholder(a.JSON, i)
			if !ok || p.num >= len(a.Bin) {
				i++
				continue
			}
			r.replace(i, p.end)
			r.dst = append(r.dst, `{"$bin":"`...)
			r.dst = append(base64.StdEncoding.AppendEncode(r.dst, a.Bin[p.num]), `"}`...)
			i = p.end
		case '"':
			end := rawjson.End(a.JSON, i)
			if dollars := binKey(a.JSON, i, end); dollars > 0 {
				r.replace(i, end)
				r.dst = appendBinKey(r.dst, dollars+1)
			}
			i = end
		default:
			i++
		}
	}
	return append(r.finish(), ']')
}

// parsePlainArgs reads an array of arguments, with at most limit binary
// values. It copies the array only if there may be a $bin in it.
func parsePlainArgs(array []byte, limit int) (a Args, err error) {
	list, n, err := parseArray(array)
	switch {
	case err != nil:
		return Args{}, &Refused{"args", "must be an array", ErrPayload}
	case n > MaxArgs:
		return Args{}, &Refused{"args", fmt.Sprintf("%d arguments, at most %d", n, MaxArgs), ErrTooLarge}
	case !mayHaveBinKey(list):
		return Args{JSON: list}, nil
	}
	r := rewriter{src: list}
	for i := 0; i < len(list); {
		switch list[i] {
		case '{':
			b64, end, ok := parseBin(list, i)
			if !ok {
				i++
				continue
			}
			if len(a.Bin) == limit {
				return Args{}, &Refused{"args", fmt.Sprintf("more than %d binary values", limit), ErrTooManyAttachments}
			}
			v, err := decodeBin(b64)
			if err != nil {
				return Args{}, err
			}
			r.replace(i, end)
			r.dst = appendPlaceholder(r.dst, len(a.Bin))
			a.Bin = append(a.Bin, v)
			i = end
		case '"':
			end := rawjson.End(list, i)
			dollars := binKey(list, i, end)
			if dollars == 1 {
				return Args{}, &Refused{"args", `a binary value must be {"$bin": "<base64>"}, and the key $bin in data $$bin`, ErrPayload}
			}
			if dollars > 1 {
				r.replace(i, end)
				r.dst = appendBinKey(r.dst, dollars-1)
			}
			i = end
		default:
			i++
		}
	}
	a.JSON = r.finish()
	if len(a.Bin) > 0 && checkPlaceholders(a.JSON, len(a.Bin)) != nil {
		return Args{}, &Refused{"args", "an object with the key _placeholder cannot go together with binary values", ErrPlaceholder}
	}
	return a, nil
}

// mayHaveBinKey is false only if no key of json is $bin with any number of
// dollars, plain or written with escapes.
func mayHaveBinKey(json []byte) bool {
	return bytes.Contains(json, []byte(`$bin"`)) || bytes.Contains(json, []byte(`\u00`))
}

// binKey returns the number of dollars if the string json[start:end] is a key
// of dollars and bin, else 0.
func binKey(json []byte, start, end int) (dollars int) {
	if i := rawjson.Space(json, end); i == len(json) || json[i] != ':' {
		return 0
	}
	key, ok := rawjson.Plain(json[start:end])
	if !ok {
		key = rawjson.Unquote(nil, json[start:end])
	}
	for dollars < len(key) && key[dollars] == '$' {
		dollars++
	}
	if string(key[dollars:]) != "bin" {
		return 0
	}
	return dollars
}

func appendBinKey(dst []byte, dollars int) []byte {
	dst = append(dst, '"')
	for range dollars {
		dst = append(dst, '$')
	}
	return append(dst, `bin"`...)
}

// parseBin reads {"$bin": b64} at json[i].
func parseBin(json []byte, i int) (b64 []byte, end int, ok bool) {
	start := rawjson.Space(json, i+1)
	if start == len(json) || json[start] != '"' {
		return nil, 0, false
	}
	end = rawjson.End(json, start)
	if binKey(json, start, end) != 1 {
		return nil, 0, false
	}
	start = rawjson.Space(json, rawjson.Space(json, end)+1) // behind the colon
	if start == len(json) || json[start] != '"' {
		return nil, 0, false
	}
	end = rawjson.End(json, start)
	b64 = json[start:end]
	end = rawjson.Space(json, end)
	return b64, end + 1, end < len(json) && json[end] == '}'
}

// decodeBin decodes a quoted string of standard base64.
func decodeBin(quoted []byte) ([]byte, error) {
	b64, ok := rawjson.Plain(quoted)
	if !ok {
		b64 = rawjson.Unquote(nil, quoted) // some encoders escape slashes
	}
	v, err := base64.StdEncoding.AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(b64))), b64)
	if err != nil {
		return nil, &Refused{"args", "$bin is not base64", ErrPayload}
	}
	return v, nil
}
