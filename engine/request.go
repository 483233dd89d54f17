package engine

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddy-realtime/realtime/internal/budget"
)

// protocolError is one of the numbered errors of Engine.IO.
type protocolError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	status  int
}

var (
	errTransport = &protocolError{0, "Transport unknown", http.StatusBadRequest}
	errSession   = &protocolError{1, "Session ID unknown", http.StatusBadRequest}
	errMethod    = &protocolError{2, "Bad handshake method", http.StatusBadRequest}
	errRequest   = &protocolError{3, "Bad request", http.StatusBadRequest}
	errForbidden = &protocolError{4, "Forbidden", http.StatusForbidden}
	errVersion   = &protocolError{5, "Unsupported protocol version", http.StatusBadRequest}
	errBusy      = &protocolError{-1, "", http.StatusServiceUnavailable}
)

// request is one HTTP request, and the session it is for.
type request struct {
	server  *Server
	config  *Config
	w       http.ResponseWriter
	r       *http.Request
	info    Info
	query   url.Values
	sid     string // the session that it belongs to; "": it opens one
	upgrade bool   // it asks for a WebSocket
	session *Session
	account *budget.Account // of the address of an admitted handshake; nil: exempt, or the session's by now
}

func (s *Server) newRequest(w http.ResponseWriter, r *http.Request, info Info) *request {
	q := &request{server: s, config: s.config.Load(), w: w, r: r, info: info, query: parseQuery(r.URL.RawQuery)}
	q.sid = sessionID(q.query)
	if q.info.RemoteIP == "" {
		q.info.RemoteIP = r.RemoteAddr
		if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
			q.info.RemoteIP = host
		}
	}
	q.upgrade = wantsWebSocket(r)
	return q
}

// IsHandshake reports whether r asks for a new session: its query names none.
func IsHandshake(r *http.Request) bool { return sessionID(parseQuery(r.URL.RawQuery)) == "" }

// sessionID returns the sid that a query names, "" if it names none. As in Node,
// an empty one counts for none.
func sessionID(query url.Values) string { return last(query["sid"]) }

// parseQuery parses a query as Node does: a pair with a semicolon or a stray
// percent sign is a pair like others, which net/url drops.
func parseQuery(raw string) url.Values {
	values := url.Values{}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair != "" {
			key, value, _ := strings.Cut(pair, "=")
			key = unescapeQuery(key)
			values[key] = append(values[key], unescapeQuery(value))
		}
	}
	return values
}

// unescapeQuery undoes the escapes of a query and leaves what is not one.
func unescapeQuery(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s):
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				c = byte(n)
				i += 2
			}
		}
		b = append(b, c)
	}
	return string(b)
}

// plain reports whether q opens a WebSocket without Engine.IO.
func (q *request) plain() bool {
	return q.config.Plain && q.upgrade && !q.query.Has("EIO") && !q.query.Has("transport") && !q.query.Has("sid")
}

// check finds q's session and what is wrong with q, in the order of Node:
// Engine.IO v4, section Errors.
func (q *request) check() *protocolError {
	transport := last(q.query["transport"])
	switch {
	case transport == "polling" && !q.config.NoPolling:
	case transport == "websocket" && !q.config.NoWebSocket:
	default:
		return errTransport
	}
	if !validHeader(q.r.Header.Get("Origin")) {
		return errRequest
	}
	version := last(q.query["EIO"])
	if q.sid != "" {
		return q.checkSession(transport, version)
	}
	switch {
	case q.r.Method != http.MethodGet && !q.upgrade:
		return errMethod
	case transport == "websocket" && !q.upgrade:
		return errRequest
	case version != "4":
		return errVersion
	}
	return nil
}

func (q *request) checkSession(transport, version string) *protocolError {
	s := q.server.lookup(q.sid)
	if s == nil || s.kind != EngineIO || s.handshake.Info.Identity != q.info.Identity || !s.samePage(q.r.Header.Get("Origin")) {
		return errSession
	}
	b := NewBatch()
	s.check(b)
	b.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state > closing:
		return errSession
	case !q.upgrade && (transport != "polling" || !s.polls()):
		return errRequest
	case version != "4":
		return errRequest
	}
	q.session = s
	return nil
}

// samePage reports whether a request with that Origin may be of the page that
// opened the session. A browser names a page's own origin in POST and upgrade
// only, so a handshake without one leaves it to a later request to say it.
func (s *Session) samePage(origin string) bool {
	if s.origin != "" || origin == "" {
		return equalOrigins(origin, s.origin)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.page == "" {
		s.page = origin
	}
	return equalOrigins(origin, s.page)
}

// last is what counts of a repeated key.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

func validHeader(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// refuse answers with an error. Upgrades get plain text and always 400, except
// for two answers of our own: 403 for a foreign origin, and 503, so that a
// balancer and a person can tell them from a client's mistake.
func (q *request) refuse(e *protocolError) {
	h := q.w.Header()
	if e == errBusy {
		h.Set("Retry-After", "1")
		q.hangUp() // a refused client must not keep a descriptor
		q.w.WriteHeader(e.status)
		return
	}
	var body []byte
	if q.upgrade && e != errForbidden && !(e == errTransport && q.config.NoWebSocket) {
		h.Set("Content-Type", "text/html")
		q.hangUp()
		body = []byte(e.Message)
	} else {
		h.Set("Content-Type", "application/json")
		body, _ = json.Marshal(e) // a struct of an int and a string
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	q.w.WriteHeader(e.status)
	// An answer that cannot be written is the client's loss.
	_, _ = q.w.Write(body)
}

// hangUp has the connection closed after the answer. HTTP/2 and 3 share
// theirs with other requests.
func (q *request) hangUp() {
	if q.r.ProtoMajor == 1 {
		q.w.Header().Set("Connection", "close")
	}
}

// wantsWebSocket reports whether r asks for a WebSocket: over HTTP/1 by
// Upgrade, over HTTP/2 (RFC 8441) and 3 (RFC 9220) by extended CONNECT.
func wantsWebSocket(r *http.Request) bool {
	if r.Method == http.MethodConnect {
		return extendedConnect(r) == "websocket"
	}
	return hasToken(r.Header["Connection"], "upgrade") && hasToken(r.Header["Upgrade"], "websocket")
}

func hasToken(values []string, token string) bool {
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}

// innermost is the ResponseWriter below all that wrap it.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = u.Unwrap()
	}
}
