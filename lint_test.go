package realtime

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-realtime/realtime/rules"
)

// Input beside the expected warnings.
func TestLintsGiveTheGoldenWarnings(t *testing.T) {
	eachCaddyfile(t, "lints", func(t *testing.T, path string, content []byte) {
		var got strings.Builder
		collect := func(h *Handler) {
			for _, w := range h.warnings {
				got.WriteString(w.String() + "\n")
			}
		}
		options := map[string]any{"filename": "Caddyfile", collectOption: collect}
		if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(content, options); err != nil {
			t.Fatal(err)
		}
		golden(t, path, ".warnings", []byte(got.String()))
	})
}

func TestLintWarnsOfUnsafeOrigins(t *testing.T) {
	for origin, want := range map[string]string{
		"*":                       "every website",
		"null":                    "every website",
		"http://chat.example":     "use https",
		"ws://chat.example":       "use https",
		"http://localhost:5173":   "",
		"https://chat.example":    "",
		"capacitor://localhost":   "",
		"https://*.chat.example/": "",
	} {
		h := &Handler{Origins: []string{origin}}
		h.lintOrigins("here")
		if got := lines(h.warnings); (got != "") != (want != "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", origin, got, want)
		}
	}
}

// JSON has no lines: a warning names the place in it.
func TestLintsOfJSONNameThePlace(t *testing.T) {
	text := `{
		"hub": "lints-of-json",
		"origins": ["*"],
		"on": [{"event": "say", "steps": [{"broadcast": {"event": "said", "to": "data.room"}}]}],
		"namespaces": [{
			"name": "/mixed",
			"auth": {"method": "jwt", "secret": "0123456789abcdef0123456789abcdef", "optional": true},
			"on": [{"event": "me", "steps": [{"ack": {"args": ["user.name"]}}]}]
		}]
	}`
	h := new(Handler)
	if err := json.Unmarshal([]byte(text), h); err != nil {
		t.Fatal(err)
	}
	const want = `origins: origins *: pages of every website can connect in the name of their visitors; name the origins that may
on[0].steps[0]: a client can send to any room; require in_room(data.room) before, or set allow_rooms
namespace /mixed: on[0].steps[0]: user is null for anonymous clients; require user != null before, or write sender
`
	if got := lines(provision(t, h).warnings); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func lines(warnings []rules.Warning) string {
	var text strings.Builder
	for _, w := range warnings {
		text.WriteString(w.String() + "\n")
	}
	return text.String()
}

func TestShadowedHandlersAreFound(t *testing.T) {
	for name, tc := range map[string]struct {
		body     string
		shadowed bool
	}{
		"same path":         {"realtime {\nhub a\n}\nrealtime {\nhub b\n}", true},
		"below the path":    {"realtime {\nhub a\n}\nrealtime {\nhub b\npath /socket.io/admin/\n}", true},
		"matcher for all":   {"realtime /sock* {\nhub a\n}\nrealtime {\nhub b\n}", true},
		"before handle":     {"realtime {\nhub a\n}\nhandle {\nrealtime {\nhub b\n}\n}", true},
		"other path":        {"realtime {\nhub a\n}\nrealtime {\nhub b\npath /live/\n}", false},
		"path begins alike": {"realtime {\nhub a\n}\nrealtime {\nhub b\npath /socket.io2/\n}", false},
		"above the path":    {"route {\nrealtime {\nhub a\npath /socket.io/admin/\n}\nrealtime {\nhub b\n}\n}", false},
		"narrow matcher":    {"@v4 remote_ip 10.0.0.0/8\nrealtime @v4 {\nhub a\n}\nrealtime {\nhub b\n}", false},
		"one hub":           {"realtime {\nhub a\n}\nrealtime {\nhub a\n}", false},
	} {
		t.Run(name, func(t *testing.T) {
			config, want := quiet(site(freePort(t), tc.body)), ""
			if tc.shadowed {
				want = fmt.Sprintf("Caddyfile:%d: this block never gets a request: Caddyfile:%d comes first and takes everything below /socket.io/; give them different paths\n",
					lineOf(config, "hub b")-1, lineOf(config, "hub a")-1)
			}
			if got := routeWarnings(t, config); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	t.Run("two sites", func(t *testing.T) {
		two := quiet(site(freePort(t), "realtime {\nhub a\n}"), site(freePort(t), "realtime {\nhub b\n}"))
		if got := routeWarnings(t, two); got != "" {
			t.Error(got)
		}
	})
	t.Run("two hosts", func(t *testing.T) {
		port := freePort(t)
		two := quiet(fmt.Sprintf("http://a.localhost:%[1]d {\nrealtime {\nhub a\n}\n}\nhttp://b.localhost:%[1]d {\nrealtime {\nhub b\n}\n}", port))
		if got := routeWarnings(t, two); got != "" {
			t.Error(got)
		}
	})
}

func TestAuthWithoutHandlerInFront(t *testing.T) {
	const block = "realtime {\nauth caddy\n}"
	const login = "basic_auth {\nann $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\n"
	for name, tc := range map[string]struct {
		body   string
		warned bool
	}{
		"nothing":            {block, true},
		"other handlers":     {"encode gzip\nheader X y\n" + block, true},
		"a login":            {login + block, false},
		"a login outside":    {login + "route {\n" + block + "\n}", false},
		"a login afterwards": {"route {\n" + block + "\n" + login + "}", true},
		"another method":     {"realtime {\n}", false},
	} {
		t.Run(name, func(t *testing.T) {
			got := routeWarnings(t, quiet(site(freePort(t), tc.body)))
			if warned := strings.Contains(got, "auth caddy: no handler before"); warned != tc.warned {
				t.Errorf("got %q", got)
			}
		})
	}
}

// routeWarnings are what the routes of a Caddyfile are warned of.
func routeWarnings(t *testing.T, caddyfile string) string {
	t.Helper()
	mustLoad(t, caddyfile)
	app, err := caddy.ActiveContext().App("realtime")
	if err != nil {
		t.Fatal(err)
	}
	var warnings []rules.Warning
	for _, server := range app.(*App).servers {
		warnings = append(warnings, lintRoutes(server.Routes)...)
	}
	return lines(warnings)
}

// lineOf is the line that begins with text.
func lineOf(caddyfile, text string) int {
	before, _, _ := strings.Cut(caddyfile, "\n"+text)
	return strings.Count(before, "\n") + 2
}
