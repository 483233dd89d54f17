package realtime

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
)

// evidence is what an authenticator wants to know of the request that opens a
// session. Each session keeps it as long as it lives: what nobody wants is not
// kept.
type evidence struct {
	sources []auth.Source // of tokens
	secrets []string      // the query parameters among them
	claims  []string      // that an authentication handler in front sets
	ambient bool          // browsers prove the identity by themselves, whoever's page asks
}

// An examiner is an authenticator that wants evidence.
type examiner interface{ wants() evidence }

// wanted is what all authenticators of a hub want together.
func wanted(namespaces []hub.NamespaceConfig) evidence {
	var all evidence
	for _, n := range namespaces {
		s, ok := n.Auth.(examiner)
		if !ok {
			continue
		}
		w := s.wants()
		all.sources = append(all.sources, w.sources...)
		all.claims = append(all.claims, w.claims...)
		all.ambient = all.ambient || w.ambient
	}
	for _, source := range all.sources {
		if key := source.QueryKey(); key != "" {
			all.secrets = append(all.secrets, key)
		}
	}
	return all
}

// kept is the evidence of one session.
type kept struct {
	tokens auth.Credentials
	claims map[string]json.RawMessage
	access *accessRecord // nil: the session has no line in the access log
}

var _ hub.Witness = kept{}

// Joined is a hub.Witness's.
func (k kept) Joined(socketID, userID string) {
	if k.access != nil {
		k.access.joined(socketID, userID)
	}
}

// Ended is a hub.Witness's.
func (k kept) Ended(reason string) {
	if k.access != nil {
		k.access.ended(reason)
	}
}

// keptOf is what was kept when the session opened.
func keptOf(h *engine.Handshake) kept {
	k, _ := h.Info.Aux.(kept)
	return k
}

// collect takes what is wanted out of r, a handshake, and adds the record of its
// access. It returns nil if there is nothing to keep.
func (e *evidence) collect(r *http.Request, access *accessRecord) any {
	k := kept{auth.Collect(r, e.sources), claimsInFront(r, e.claims), access}
	if k.tokens.Empty() && k.claims == nil && k.access == nil {
		return nil
	}
	return k
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
