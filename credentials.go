package realtime

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/hub"
)

// credentialSpec is what an authenticator needs of the request that opens a
// session. The session keeps it as long as it lives, so nothing else is kept.
type credentialSpec struct {
	sources []auth.Source // of tokens
	secrets []string      // the query parameters among them
	user    bool          // that an authentication handler in front has found
	claims  []string      // of that user
	ambient bool          // browsers prove the identity by themselves, whichever page asks
}

// credentialUser is an authenticator that needs something of the request.
type credentialUser interface{ credentials() credentialSpec }

// credentialsFor is what all authenticators of a hub need together.
func credentialsFor(namespaces []hub.NamespaceConfig) credentialSpec {
	var all credentialSpec
	for _, n := range namespaces {
		u, ok := n.Auth.(credentialUser)
		if !ok {
			continue
		}
		spec := u.credentials()
		all.sources = append(all.sources, spec.sources...)
		all.user = all.user || spec.user
		all.claims = append(all.claims, spec.claims...)
		all.ambient = all.ambient || spec.ambient
	}
	for _, source := range all.sources {
		if key := source.QueryKey(); key != "" {
			all.secrets = append(all.secrets, key)
		}
	}
	return all
}

// collect takes what is needed out of r, a handshake.
func (s *credentialSpec) collect(r *http.Request) auth.Request {
	c := auth.Request{Tokens: auth.Collect(r, s.sources)}
	if s.user {
		c.User, c.Claims = userInFront(r), claimsInFront(r, s.claims)
	}
	return c
}

// replacer is nil outside of Caddy's server.
func replacer(r *http.Request) *caddy.Replacer {
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	return repl
}

const placeholderInFront = "http.auth.user."

// userInFront is who an authentication handler in front says the request is
// from, "" if none did.
func userInFront(r *http.Request) string {
	repl := replacer(r)
	if repl == nil {
		return ""
	}
	id, _ := repl.GetString(placeholderInFront + "id")
	return id
}

// claimsInFront are what the handler says of that user, as JSON.
func claimsInFront(r *http.Request, names []string) map[string]json.RawMessage {
	repl := replacer(r)
	if repl == nil || len(names) == 0 {
		return nil
	}
	claims := map[string]json.RawMessage{}
	for _, name := range names {
		value, ok := repl.Get(placeholderInFront + name)
		if !ok {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil { // of some handler's own type: as Caddy would print it
			text, err = json.Marshal(caddy.ToString(value))
		}
		if err == nil {
			claims[name] = text
		}
	}
	return claims
}

// checkAmbient refuses to let any website's pages act as the visitor.
func checkAmbient(ambient bool, origins []string) error {
	for _, open := range []string{"*", "null"} { // null is the origin of every sandboxed frame
		if ambient && slices.Contains(origins, open) {
			return fmt.Errorf("origins %s would let every website act in the name of its visitors, since browsers send their identity by themselves (a cookie, or the login of a handler in front); name the origins instead", open)
		}
	}
	return nil
}
