package realtime

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/rules"
)

// lintRoutes warns of handlers that never get a request, because another before
// them takes all below their path. The routes must be provisioned: while a
// handler is, it knows neither its own matchers nor the other handlers.
func lintRoutes(routes caddyhttp.RouteList) []rules.Warning {
	var l routeLint
	l.walk(routes, nil)
	return l.warnings
}

type routeLint struct {
	warnings []rules.Warning
	front    bool // a handler before may have found out who the request is from
}

// walk follows routes that requests come to after the handlers in before, and
// returns those and the ones that take all below their paths here.
func (l *routeLint) walk(routes caddyhttp.RouteList, before []*Handler) []*Handler {
	for _, route := range routes {
		front, inside := l.front, slices.Clip(before)
		for _, m := range route.Handlers {
			switch m := m.(type) {
			case *Handler:
				l.check(m, inside)
				l.checkFront(m)
				inside = append(inside, m)
			case *caddyhttp.Subroute:
				inside = l.walk(m.Routes, inside)
			default:
				l.front = l.front || mayIdentify(m)
			}
		}
		if route.Terminal { // what follows is for other requests
			l.front = front
		}
		for _, h := range inside[len(before):] {
			if letsThrough(route, h) {
				before = append(before, h)
			}
		}
	}
	return before
}

func (l *routeLint) check(h *Handler, before []*Handler) {
	for _, first := range before {
		if first.Hub != h.Hub && strings.HasPrefix(h.base+"/", first.base+"/") {
			text := fmt.Sprintf("this block never gets a request: %s comes first and takes everything below %s/; give them different paths", first.title(), first.base)
			l.warnings = append(l.warnings, rules.Warning{Where: h.title(), Text: text})
			return
		}
	}
}

// checkFront warns of auth caddy where nothing before could find an identity.
func (l *routeLint) checkFront(h *Handler) {
	needs := func(n hub.NamespaceConfig) bool {
		_, front := n.Auth.(*HTTPUser)
		return front
	}
	if !l.front && slices.ContainsFunc(h.generation.config.Namespaces, needs) {
		l.warnings = append(l.warnings, rules.Warning{Where: h.title(), Text: "auth caddy: no handler before this block finds out who a request is from, so that every client is refused or anonymous; add one, such as basic_auth"})
	}
}

// mayIdentify reports whether a handler may set the identity of a request: one
// for that, one that sets any placeholder, or one that Caddy does not ship.
func mayIdentify(m caddyhttp.MiddlewareHandler) bool {
	t := reflect.TypeOf(m)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	const shipped = "github.com/caddyserver/caddy/v2/modules/caddyhttp"
	switch path := t.PkgPath(); path {
	case shipped:
		return t.Name() == "Invoke" // of routes that are elsewhere
	case shipped + "/caddyauth", shipped + "/map":
		return true
	default:
		return !strings.HasPrefix(path, shipped+"/")
	}
}

// letsThrough reports whether each request for h passes the route's matchers,
// as far as it is easy to tell.
func letsThrough(route caddyhttp.Route, h *Handler) bool {
	if len(route.MatcherSets) == 0 {
		return true
	}
	for _, set := range route.MatcherSets {
		if len(set) != 1 {
			continue
		}
		if paths, ok := set[0].(*caddyhttp.MatchPath); ok && slices.ContainsFunc(*paths, h.within) {
			return true
		}
	}
	return false
}

// within reports whether the pattern of a path matcher matches all below the
// handler's path.
func (h *Handler) within(pattern string) bool {
	prefix, wild := strings.CutSuffix(strings.ToLower(pattern), "*")
	return wild && !strings.Contains(prefix, "*") && strings.HasPrefix(strings.ToLower(h.base)+"/", prefix)
}
