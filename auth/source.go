package auth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A Source is a place where a token may be. Equal ones are the same place.
type Source struct {
	place place
	name  string // of the query parameter or cookie
}

type place uint8

const (
	inPayload  place = iota // under "token" in what comes with CONNECT
	inHeader                // Authorization: Bearer <token>
	inQuery                 // ?<name>=<token>
	inCookie                // Cookie: <name>=<token>
	inProtocol              // Sec-WebSocket-Protocol: realtime.v1, bearer.<token>
)

// engineKeys are the query parameters that have a meaning already.
var engineKeys = []string{"EIO", "transport", "sid", "t", "b64", "j"}

// DefaultSources are auth.token and header.Authorization.
func DefaultSources() []Source { return []Source{{place: inPayload}, {place: inHeader}} }

// ParseSource takes "auth.token", "header.Authorization", "query.<name>",
// "cookie.<name>" and "protocol".
func ParseSource(s string) (Source, error) {
	kind, name, _ := strings.Cut(s, ".")
	switch {
	case s == "auth.token":
		return Source{place: inPayload}, nil
	case kind == "header" && strings.EqualFold(name, "Authorization"):
		return Source{place: inHeader}, nil
	case kind == "query" && slices.Contains(engineKeys, name):
		return Source{}, fmt.Errorf("the query's %s is Engine.IO's own", name)
	case kind == "query" && name != "":
		return Source{inQuery, name}, nil
	case kind == "cookie" && name != "":
		return Source{inCookie, name}, nil
	case s == "protocol":
		return Source{place: inProtocol}, nil
	}
	return Source{}, fmt.Errorf("a token is not to be had from %q, only from auth.token, header.Authorization, query.<name>, cookie.<name> and protocol", s)
}

// Ambient reports whether browsers send what is there by themselves, also for
// a page of somebody else's.
func (s Source) Ambient() bool { return s.place == inCookie }

// QueryKey is the query parameter that the source is, "" if it is none.
func (s Source) QueryKey() string {
	if s.place != inQuery {
		return ""
	}
	return s.name
}

// Credentials are the tokens that came with the request that opened a session.
// They are kept as long as the session: what no source names is not in them.
// The zero value has none.
type Credentials struct{ found []credential }

type credential struct {
	from  Source
	token string
}

// Collect takes what the sources name out of a request. It copies.
func Collect(r *http.Request, sources []Source) Credentials {
	var c Credentials
	for _, s := range sources {
		token := s.read(r)
		if token == "" || slices.ContainsFunc(c.found, func(have credential) bool { return have.from == s }) {
			continue
		}
		// Of one that is too long, enough to tell.
		c.found = append(c.found, credential{s, strings.Clone(token[:min(len(token), maxToken+1)])})
	}
	return c
}

// Empty reports whether there are none.
func (c Credentials) Empty() bool { return len(c.found) == 0 }

func (s Source) read(r *http.Request) string {
	switch s.place {
	case inHeader:
		return bearer(r)
	case inQuery:
		return r.URL.Query().Get(s.name)
	case inCookie:
		cookie, err := r.Cookie(s.name)
		if err != nil { // there is none
			return ""
		}
		return cookie.Value
	case inProtocol:
		return offered(r)
	}
	return "" // inPayload: not there yet
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// offered is the token among the subprotocols that a WebSocket offers.
func offered(r *http.Request) string {
	for _, line := range r.Header.Values("Sec-Websocket-Protocol") {
		for item := range strings.SplitSeq(line, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(item), "bearer."); ok {
				return token
			}
		}
	}
	return ""
}

// token is the one that is in s, "" if none is.
func (s Source) token(payload []byte, cred Credentials) (string, error) {
	if s.place == inPayload {
		return payloadToken(payload)
	}
	for _, c := range cred.found {
		if c.from == s {
			return c.token, nil
		}
	}
	return "", nil
}

// payloadToken returns the string under "token" in a JSON object; "" if there
// is none.
func payloadToken(payload []byte) (string, error) {
	if len(payload) == 0 {
		return "", nil
	}
	if len(payload) > maxPayload {
		return "", fmt.Errorf("more than %d bytes around the token", maxPayload)
	}
	// A map, because a struct's fields would match in any letter case.
	var object map[string]json.RawMessage
	if err := json.Unmarshal(payload, &object); err != nil {
		return "", fmt.Errorf("decoding the auth payload: %w", err)
	}
	return text(object["token"])
}
