package engine

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Origins decides from which origins browsers may use an endpoint: from its
// own, and from those of a list. It is immutable. A nil *Origins has an empty
// list.
type Origins struct {
	any   bool
	null  bool
	exact []origin
	wild  []origin // of "https://*.example.com": host is the suffix with its dot
}

// origin is a parsed origin. Two are the same if they are equal by ==.
type origin struct {
	scheme string // lower case; http stands for ws, and https for wss
	host   string // lower case; with its port, unless that is the scheme's default
}

// ParseOrigins takes what the Caddyfile's origins option takes: "*", "null",
// origins such as "https://example.com", "https://*.example.com" and
// "capacitor://localhost", and "same", the own origin, which is always allowed.
func ParseOrigins(list []string) (*Origins, error) {
	o := &Origins{}
	for _, item := range list {
		switch item {
		case "*":
			o.any = true
		case "same":
		case "null":
			o.null = true
		default:
			if err := o.add(item); err != nil {
				return nil, err
			}
		}
	}
	if o.any && len(list) > 1 {
		return nil, fmt.Errorf("origin * includes all others: remove them, or the star")
	}
	return o, nil
}

func (o *Origins) add(item string) error {
	scheme, host, _ := strings.Cut(item, "://")
	host, wild := strings.CutPrefix(strings.TrimSuffix(host, "/"), "*.")
	if strings.Contains(host, "*") {
		return fmt.Errorf("origin %q: a star can only stand for the first labels of a host, as in https://*.example.com", item)
	}
	got, ok := newOrigin(scheme, host)
	switch {
	case !ok || wild && got.host == "":
		return fmt.Errorf("origin %q is not of the form scheme://host[:port], such as https://example.com or capacitor://localhost", item)
	case wild:
		o.wild = append(o.wild, origin{got.scheme, "." + got.host})
	default:
		o.exact = append(o.exact, got)
	}
	return nil
}

// parseOrigin parses the Origin header of a request. Some clients that are not
// browsers send a whole URL: its path is ignored. Anything after which parsers
// might disagree about the host (a user, a backslash, a query without a path)
// is not an origin.
func parseOrigin(header string) (o origin, ok bool) {
	scheme, rest, ok := strings.Cut(header, "://")
	if !ok {
		return origin{}, false
	}
	host, _, _ := strings.Cut(rest, "/")
	return newOrigin(scheme, host)
}

// newOrigin returns an origin in the form that is compared; false if scheme or
// host is malformed. Only a file origin may lack a host.
func newOrigin(scheme, host string) (o origin, ok bool) {
	scheme, host = strings.ToLower(scheme), strings.ToLower(host)
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		name, port = host[:i], host[i+1:]
		if port == "" || strings.Trim(port, "0123456789") != "" {
			return origin{}, false
		}
	}
	if !isScheme(scheme) || !isHost(name) && (scheme != "file" || host != "") {
		return origin{}, false
	}
	defaultPort := ""
	switch scheme {
	case "http", "ws":
		scheme, defaultPort = "http", "80"
	case "https", "wss":
		scheme, defaultPort = "https", "443"
	}
	if port == defaultPort {
		host = name
	}
	return origin{scheme, host}, true
}

// isScheme reports whether s is a scheme, RFC 3986 section 3.1, in lower case.
func isScheme(s string) bool {
	return s != "" && 'a' <= s[0] && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

// isHost reports whether s is a name or an address in lower case. Names that
// are not ASCII come in their xn-- form.
func isHost(s string) bool {
	if address, ok := strings.CutPrefix(s, "["); ok {
		address, ok = strings.CutSuffix(address, "]")
		return ok && address != "" && strings.Trim(address, "abcdef0123456789:.") == ""
	}
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-._") == ""
}

// allows reports whether r may come from where it says it comes from. A
// request without Origin is not a cross-origin request of a browser's script,
// but it may be one of an image or a form: Sec-Fetch-Site tells.
func (o *Origins) allows(r *http.Request) bool {
	header := r.Header.Get("Origin")
	switch {
	case o.anyOrigin():
		return true
	case header == "":
		return r.Header.Get("Sec-Fetch-Site") != "cross-site"
	case header == "null":
		return o != nil && o.null
	}
	from, ok := parseOrigin(header)
	return ok && (isOwn(r, from) || o.lists(from))
}

// isOwn compares an origin with that of the URL to which r was sent.
func isOwn(r *http.Request, from origin) bool {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	own, ok := newOrigin(scheme, r.Host)
	return ok && own == from
}

func (o *Origins) lists(from origin) bool {
	if o == nil {
		return false
	}
	return slices.Contains(o.exact, from) || slices.ContainsFunc(o.wild, func(w origin) bool {
		return w.scheme == from.scheme && len(from.host) > len(w.host) && strings.HasSuffix(from.host, w.host)
	})
}

// equalOrigins reports whether two Origin headers name the same origin.
func equalOrigins(a, b string) bool {
	if a == b {
		return true
	}
	x, isOrigin := parseOrigin(a)
	y, isOther := parseOrigin(b)
	return isOrigin && isOther && x == y
}

// crosses reports whether origins other than the own one may be allowed.
func (o *Origins) crosses() bool {
	return o != nil && (o.any || o.null || len(o.exact)+len(o.wild) > 0)
}

func (o *Origins) anyOrigin() bool { return o != nil && o.any }

// setHeaders sets the CORS headers for an answer to r, which is allowed.
func (o *Origins) setHeaders(h http.Header, r *http.Request) {
	if o.anyOrigin() {
		h.Set("Access-Control-Allow-Origin", "*")
		return
	}
	if !o.crosses() {
		return
	}
	h.Add("Vary", "Origin") // also without one: a cache must not mix them up
	if header := r.Header.Get("Origin"); header != "" && o.allows(r) {
		h.Set("Access-Control-Allow-Origin", header)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// preflight answers an OPTIONS request of an allowed origin.
func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET,HEAD,PUT,PATCH,POST,DELETE")
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
		h.Add("Vary", "Access-Control-Request-Headers")
	}
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusNoContent)
}
