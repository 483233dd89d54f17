package ws

import (
	"strconv"
	"strings"
)

// maxWindowBits is the size of the LZ77 window of compress/flate, and the
// largest of permessage-deflate.
const maxWindowBits = 15

// AcceptDeflate chooses the first offer of permessage-deflate in the
// Sec-WebSocket-Extensions headers of a request that can be met, RFC 7692
// section 7.1: the answer names what was agreed, and our messages must not
// refer further back than the window. An empty answer declines all offers: one
// with a parameter that is unknown, given twice or of an invalid value, and a
// header that is malformed anywhere.
func AcceptDeflate(headers []string) (answer string, windowBits int) {
	offers, ok := parseExtensions(strings.Join(headers, ","))
	if !ok {
		return "", 0
	}
	for _, offer := range offers {
		if answer, bits, ok := offer.accept(); ok {
			return answer, bits
		}
	}
	return "", 0
}

// extension is an extension that a client offers, with its parameters in
// order.
type extension struct {
	name   string
	params []extensionParam
}

type extensionParam struct {
	name, value string
	valued      bool // name=value
}

// accept returns our answer to an offer; false if it declines it. Both sides
// start each message with an empty window, whatever the client asks for, so
// that an idle connection needs no memory for one.
func (e extension) accept() (answer string, windowBits int, ok bool) {
	if e.name != "permessage-deflate" {
		return "", 0, false
	}
	answer, windowBits = e.name+"; server_no_context_takeover; client_no_context_takeover", maxWindowBits
	seen := map[string]bool{}
	for _, p := range e.params {
		if seen[p.name] {
			return "", 0, false
		}
		seen[p.name] = true
		switch p.name {
		case "server_no_context_takeover", "client_no_context_takeover":
			ok = !p.valued
		case "client_max_window_bits": // a hint: we inflate with the largest window
			_, ok = p.windowBits()
			ok = ok || !p.valued
		case "server_max_window_bits": // a demand, and agreed only if the answer has it too
			windowBits, ok = p.windowBits()
			answer += "; " + p.name + "=" + p.value
		default:
			ok = false
		}
		if !ok {
			return "", 0, false
		}
	}
	return answer, windowBits, true
}

// windowBits reads 8 to 15, without leading zeros.
func (p extensionParam) windowBits() (bits int, ok bool) {
	bits, err := strconv.Atoi(p.value)
	return bits, err == nil && p.value == strconv.Itoa(bits) && 8 <= bits && bits <= maxWindowBits
}

// parseExtensions parses the value of Sec-WebSocket-Extensions headers, RFC
// 6455 section 9.1; false if it is malformed.
func parseExtensions(text string) (list []extension, ok bool) {
	s := scanner{text}
	for {
		for s.skip(',') { // a list may have empty elements
		}
		if s.rest == "" {
			return list, true
		}
		var e extension
		if e.name, ok = s.token(); !ok {
			return nil, false
		}
		for s.skip(';') {
			var p extensionParam
			if p.name, ok = s.token(); !ok {
				return nil, false
			}
			if p.valued = s.skip('='); p.valued {
				if p.value, ok = s.value(); !ok {
					return nil, false
				}
			}
			e.params = append(e.params, p)
		}
		if s.rest != "" && s.rest[0] != ',' {
			return nil, false
		}
		list = append(list, e)
	}
}

// scanner reads the value of an HTTP header. Blanks around what it reads are
// skipped.
type scanner struct{ rest string }

func (s *scanner) blank() { s.rest = strings.TrimLeft(s.rest, " \t") }

func (s *scanner) skip(c byte) bool {
	s.blank()
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	s.blank()
	return true
}

// token reads a token, RFC 9110 section 5.6.2.
func (s *scanner) token() (token string, ok bool) {
	n := 0
	for n < len(s.rest) && isTokenByte(s.rest[n]) {
		n++
	}
	token, s.rest = s.rest[:n], s.rest[n:]
	s.blank()
	return token, n > 0
}

// value reads a token, or one in quotes.
func (s *scanner) value() (value string, ok bool) {
	quoted := s.skip('"')
	value, ok = s.token()
	return value, ok && (!quoted || s.skip('"'))
}

func isTokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
