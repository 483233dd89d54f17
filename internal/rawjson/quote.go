package rawjson

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Plain returns what a quoted string holds, if no escape is in it.
func Plain(quoted []byte) (s []byte, ok bool) {
	if len(quoted) < 2 {
		return nil, true
	}
	s = quoted[1 : len(quoted)-1 : len(quoted)-1]
	return s, bytes.IndexByte(s, '\\') < 0
}

// String returns what a quoted string holds, unescaped as by Unquote.
func String(quoted []byte) string {
	if s, ok := Plain(quoted); ok {
		return string(s)
	}
	return string(Unquote(make([]byte, 0, len(quoted)), quoted))
}

// Unquote appends to dst what a quoted string holds, in UTF-8. A lone
// surrogate becomes U+FFFD.
func Unquote(dst []byte, quoted []byte) []byte {
	s, ok := Plain(quoted)
	if ok {
		return append(dst, s...)
	}
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...)
		}
		r, n := unescape(s[i:])
		dst = utf8.AppendRune(append(dst, s[:i]...), r)
		s = s[i+n:]
	}
}

// EqualString reports whether a quoted string holds s once unescaped, without
// allocating.
func EqualString(quoted []byte, s string) bool {
	q, ok := Plain(quoted)
	if ok {
		return string(q) == s
	}
	for len(q) > 0 {
		if q[0] != '\\' {
			if s == "" || q[0] != s[0] {
				return false
			}
			q, s = q[1:], s[1:]
			continue
		}
		r, n := unescape(q)
		var buf [utf8.UTFMax]byte
		enc := buf[:utf8.EncodeRune(buf[:], r)]
		if len(s) < len(enc) || s[:len(enc)] != string(enc) {
			return false
		}
		q, s = q[n:], s[len(enc):]
	}
	return s == ""
}

// unescape reads the escape that s begins with; n is its length, that of a
// surrogate pair together.
func unescape(s []byte) (r rune, n int) {
	if len(s) < 2 {
		return utf8.RuneError, len(s)
	}
	switch c := s[1]; c {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		return unescapeUnicode(s)
	default:
		return rune(c), 2
	}
}

func unescapeUnicode(s []byte) (r rune, n int) {
	r, ok := hex4(s[2:])
	if !ok {
		return utf8.RuneError, len(s)
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
		if low, ok := hex4(s[8:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, 12
			}
		}
	}
	return utf8.RuneError, 6
}

// AppendQuote appends s to dst as a JSON string. It escapes only what JSON
// demands: quotes, backslashes and control characters. Invalid UTF-8 becomes
// U+FFFD.
func AppendQuote[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := 0 // of what is not yet appended
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = appendEscape(append(dst, s[start:i]...), c)
			i++
			start = i
			continue
		}
		// The conversion of so few bytes needs no memory.
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		if r == utf8.RuneError && n == 1 {
			dst = utf8.AppendRune(append(dst, s[start:i]...), utf8.RuneError)
			start = i + n
		}
		i += n
	}
	return append(append(dst, s[start:]...), '"')
}

// appendEscape escapes a quote, a backslash or a control character.
func appendEscape(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	default:
		return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
	}
}

// IsInt returns the value of a number that is written as an integer, without
// fraction or exponent, and fits an int64.
func IsInt(num []byte) (n int64, ok bool) {
	digits := num
	if len(num) > 0 && num[0] == '-' {
		digits = num[1:]
	}
	if len(digits) == 0 || len(digits) > 19 || skipDigits(digits, 0) < len(digits) {
		return 0, false
	}
	var u uint64 // 19 digits always fit
	for _, c := range digits {
		u = u*10 + uint64(c-'0')
	}
	if len(digits) < len(num) {
		return -int64(u), u <= 1<<63
	}
	return int64(u), u < 1<<63
}

// Float returns the value of a number, rounded to the nearest float64. ok is
// false if it is too large for one.
func Float(num []byte) (f float64, ok bool) {
	f, err := strconv.ParseFloat(string(num), 64)
	return f, err == nil
}
