package realtime

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/realtime/rules"
)

// What a configuration says that is allowed, but most likely not meant, is a
// warning in the log: of a Caddyfile when it is adapted, for only then are its
// lines known, of JSON when it is provisioned. What only the whole configuration
// shows is said when it starts, see shadows.go.

func place(d *caddyfile.Dispenser) string { return fmt.Sprintf("%s:%d", d.File(), d.Line()) }

func (h *Handler) warn(where, format string, args ...any) {
	h.warnings = append(h.warnings, rules.Warning{Where: where, Text: fmt.Sprintf(format, args...)})
}

// logWarnings writes what was noted of a block.
func (h *Handler) logWarnings() { logWarnings(h.warnings) }

func logWarnings(warnings []rules.Warning) {
	log := caddy.Log().Named("http.handlers.realtime.lint")
	for _, w := range warnings {
		log.Warn(w.String())
	}
}

// title is how errors and warnings name the handler.
func (h *Handler) title() string {
	if h.Source != "" {
		return h.Source
	}
	return fmt.Sprintf("hub %q", h.Hub)
}

// lintOrigins warns of origins by which strangers can use what visitors may.
func (h *Handler) lintOrigins(where string) {
	for _, origin := range h.Origins {
		u, err := url.Parse(origin)
		switch {
		case origin == "*":
			h.warn(where, "origins *: pages of every website can connect in the name of their visitors; name the origins that may")
		case origin == "null":
			h.warn(where, "origins null: pages of every website can connect from a sandboxed frame, whose origin is null; name the origins that may")
		case err == nil && (u.Scheme == "http" || u.Scheme == "ws") && !isLocal(u.Hostname()):
			h.warn(where, "origins: pages of %s can be changed on their way to the browser; use https", origin)
		}
	}
}

func isLocal(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || host == "127.0.0.1" || host == "::1"
}

// checkRules compiles what was read, so that `caddy adapt` already reports what
// is wrong with it, and notes the warnings.
func (h *Handler) checkRules() error {
	if err := h.checkNamespaceRules(&h.Namespace); err != nil {
		return err
	}
	for _, n := range h.Namespaces {
		if err := h.checkNamespaceRules(&n.Namespace); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) checkNamespaceRules(n *Namespace) error {
	set, _, err := n.compile(rules.Options{AllowRooms: cmp.Or(n.AllowRooms, h.AllowRooms), Anonymity: h.anonymity(n), IsNamespace: h.isNamespace}, cmp.Or(n.Presence, h.Presence))
	if err != nil {
		return err
	}
	for _, w := range set.Warnings() {
		if h.Source != "" && strings.HasPrefix(w.Where, "preset ") {
			w.Where = h.Source + ": " + w.Where // which block it is that uses it
		}
		h.warnings = append(h.warnings, w)
	}
	return nil
}

// lintRules notes the warnings of the rules of a handler that did not come from
// a Caddyfile.
func (h *Handler) lintRules() error {
	if err := h.checkNamespaceRules(&h.Namespace); err != nil {
		return err
	}
	for _, n := range h.Namespaces {
		before := len(h.warnings)
		if err := h.checkNamespaceRules(&n.Namespace); err != nil {
			return fmt.Errorf("namespace %s: %w", n.title(), err)
		}
		for i := before; i < len(h.warnings); i++ {
			h.warnings[i].Where = "namespace " + n.title() + ": " + h.warnings[i].Where
		}
	}
	return nil
}

// authOf is the JSON of the namespace's authenticator, nil if there is none.
func (h *Handler) authOf(n *Namespace) json.RawMessage {
	if n.AuthRaw != nil {
		return n.AuthRaw
	}
	return h.AuthRaw
}

// anonymity is what the JSON of the namespace's authenticator says of clients
// without a token.
func (h *Handler) anonymity(n *Namespace) rules.Anonymity {
	auth := h.authOf(n)
	if auth == nil {
		return rules.EverybodyAnonymous
	}
	var method struct {
		Optional bool `json:"optional"`
	}
	if err := json.Unmarshal(auth, &method); err == nil && method.Optional {
		return rules.SomeAnonymous
	}
	return rules.NobodyAnonymous
}

// lintMatcher warns of a matcher that lets no request for the endpoint through.
func (h *Handler) lintMatcher(d *caddyfile.Dispenser, matcher caddy.ModuleMap) {
	var patterns caddyhttp.MatchPath
	if raw, ok := matcher["path"]; !ok || json.Unmarshal(raw, &patterns) != nil {
		return
	}
	path := cmp.Or(h.Path, defaultPath)
	for _, pattern := range patterns {
		if mayMatchBelow(pattern, path) {
			return
		}
	}
	h.warn(place(d), "the matcher %s never matches %s, which clients request; remove the matcher, or set the option path to a path that it matches",
		strings.Join(patterns, " "), path)
}

// mayMatchBelow reports whether a pattern of a path matcher could match a path
// that begins with base.
func mayMatchBelow(pattern, base string) bool {
	prefix, rest, wild := strings.Cut(strings.ToLower(pattern), "*")
	base = strings.ToLower(strings.TrimRight(base, "/"))
	if !strings.HasPrefix(prefix, "/") || rest != "" {
		return true // hard to tell
	}
	return strings.HasPrefix(prefix, base) || wild && strings.HasPrefix(base+"/", prefix)
}
