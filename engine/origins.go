package engine

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Origins decides which browser origins may use an endpoint. It is immutable.
// A nil *Origins takes the same origin only.
type Origins struct {
	any   bool
	same  bool
	exact []string
	wild  []wildcard
}

// wildcard is an origin whose host begins with "*.": at least one whole label
// stands for the star.
type wildcard struct{ scheme, suffix string }

// ParseOrigins takes what the Caddyfile's origins option takes: "same", "*",
// "null", or origins such as "https://example.com" and "https://*.example.com".
// An empty list is "same".
func ParseOrigins(list []string) (*Origins, error) {
	o := &Origins{same: len(list) == 0}
	for _, item := range list {
		switch item {
		case "*":
			o.any = true
		case "same":
			o.same = true
		case "null":
			o.exact = append(o.exact, item)
		default:
			if err := o.add(item); err != nil {
				return nil, err
			}
		}
	}
	if o.any && len(list) > 1 {
		return nil, fmt.Errorf("origin * makes the others pointless")
	}
	return o, nil
}

func (o *Origins) add(item string) error {
	u, err := url.Parse(item)
	if err != nil {
		return fmt.Errorf("parsing origin %q: %w", item, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return fmt.Errorf("origin %q is not of the form https://host[:port]", item)
	}
	host := withoutDefaultPort(u.Scheme, strings.ToLower(u.Host))
	rest, wild := strings.CutPrefix(host, "*.")
	if strings.Contains(rest, "*") || rest == "" {
		return fmt.Errorf("origin %q: a star stands for the first labels only", item)
	}
	if wild {
		o.wild = append(o.wild, wildcard{u.Scheme, "." + rest})
	} else {
		o.exact = append(o.exact, u.Scheme+"://"+host)
	}
	return nil
}

func withoutDefaultPort(scheme, host string) string {
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}

// allows reports whether r may come from where it says it comes from. A
// request without Origin is no cross-origin request of a browser's script, but
// it may be one of an image or a form: Sec-Fetch-Site tells.
func (o *Origins) allows(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return o.anyOrigin() || r.Header.Get("Sec-Fetch-Site") != "cross-site"
	}
	if o.anyOrigin() {
		return true
	}
	if o == nil || o.same {
		if sameOrigin(r, origin) {
			return true
		}
	}
	return o != nil && o.lists(origin)
}

// crosses reports whether other origins than the server's own may be allowed.
func (o *Origins) crosses() bool { return o != nil && (o.any || len(o.exact)+len(o.wild) > 0) }

func (o *Origins) anyOrigin() bool { return o != nil && o.any }

func (o *Origins) lists(origin string) bool {
	if origin == "null" {
		return slices.Contains(o.exact, origin)
	}
	scheme, host, ok := strings.Cut(strings.ToLower(origin), "://")
	if !ok || strings.ContainsAny(host, "/@?#\\") {
		return false
	}
	host = withoutDefaultPort(scheme, host)
	if slices.Contains(o.exact, scheme+"://"+host) {
		return true
	}
	return slices.ContainsFunc(o.wild, func(w wildcard) bool {
		return w.scheme == scheme && len(host) > len(w.suffix) && strings.HasSuffix(host, w.suffix)
	})
}

// sameOrigin compares scheme, host and port with those that r was sent to.
func sameOrigin(r *http.Request, origin string) bool {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	got, host, ok := strings.Cut(strings.ToLower(origin), "://")
	return ok && got == scheme &&
		withoutDefaultPort(scheme, host) == withoutDefaultPort(scheme, strings.ToLower(r.Host))
}

// setHeaders sets the CORS headers for an answer to r, which is allowed.
func (o *Origins) setHeaders(h http.Header, r *http.Request) {
	if o.anyOrigin() {
		h.Set("Access-Control-Allow-Origin", "*")
		return
	}
	origin := r.Header.Get("Origin")
	if !o.crosses() {
		return
	}
	h.Add("Vary", "Origin") // also without one: a cache must not mix them up
	if origin != "" && o.allows(r) {
		h.Set("Access-Control-Allow-Origin", origin)
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
