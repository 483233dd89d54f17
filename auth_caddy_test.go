package realtime

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

func init() {
	caddy.RegisterModule(testUser{})
	httpcaddyfile.RegisterHandlerDirective("test_user", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		args := h.RemainingArgs()
		return testUser{args[0], args[1]}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("test_user", httpcaddyfile.After, "basic_auth")
}

// testUser does what an authentication handler does for a user that it knows.
type testUser struct{ ID, Email string }

func (testUser) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_user", New: func() caddy.Module { return new(testUser) }}
}

func (u testUser) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	repl := replacer(r)
	repl.Set("http.auth.user.id", u.ID)
	repl.Set("http.auth.user.email", u.Email)
	repl.Set("http.auth.user.groups", []string{"a", "b"})
	return next.ServeHTTP(w, r)
}

// basic_auth for ann, whose password is wonderland.
const basicAuth = "basic_auth {\n ann $2a$04$ElRo86DLbrBnJMga7P0dcesnco39iLf3l7//v65J6kGVJPw84V.YO\n}\n"

func TestUserInFrontIsTheIdentity(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, basicAuth+identified("caddy"))))
	r, err := http.NewRequest("GET", "http://x", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("ann", "wonderland")
	c := dialWebSocket(t, port, r.Header)
	join(t, c, "")
	expectAnswer(t, c, "whoami", `[{"id":"ann"}]`)
	if status, _, _ := get(t, port, "/socket.io/"+handshake); status != 401 {
		t.Errorf("got %d without a password", status)
	}
}

func TestClaimsOfTheUserInFront(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, "test_user ann ann@example.com\n"+identified("caddy {\n claims email groups shoe_size\n }"))))
	for name, dial := range dialers {
		c := dial(t, port)
		join(t, c, payload("not.a.token")) // nobody asks for one
		if got, err := call(c, "whoami"); err != nil || got != `[{"email":"ann@example.com","groups":["a","b"],"id":"ann"}]` {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
}

// Whatever a client sends, it is nobody unless a handler in front says so; and
// an empty id is nobody.
func TestForgedUserInFront(t *testing.T) {
	forged := http.Header{
		"Http.auth.user.id":     {"admin"},
		"X-Http-Auth-User-Id":   {"admin"},
		"Http-Auth-User-Id":     {"admin"},
		"X-Auth-User":           {"admin"},
		"X-Forwarded-User":      {"admin"},
		"Remote-User":           {"admin"},
		"Authorization":         {"Basic YWRtaW46YWRtaW4="},
		"Cookie":                {"http.auth.user.id=admin"},
		"X-Realtime-Test-Extra": {"{http.auth.user.id}"},
	}
	for name, front := range map[string]string{
		"no handler": "",
		"empty id":   "test_user \"\" ann@example.com\n",
	} {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			mustLoad(t, quiet(site(port, front+identified("caddy"))))
			c := dialWebSocket(t, port, forged)
			expectRefusal(t, c, `{"token":"admin","http.auth.user.id":"admin","id":"admin"}`, "Authentication error")
			conn, _, err := dialAgain(fmt.Sprintf("ws://127.0.0.1:%d%swebsocket&http.auth.user.id=admin", port, endpoint), forged)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			expect(t, &webSocketClient{conn}, "0{")
			expectRefusal(t, &webSocketClient{conn}, "", "Authentication error")

			port = freePort(t)
			mustLoad(t, quiet(site(port, front+identified("caddy {\n optional\n claims email\n }"))))
			anonymous := dialWebSocket(t, port, forged)
			join(t, anonymous, "")
			expectAnswer(t, anonymous, "whoami", "[null]")
		})
	}
	t.Run("an id that none may have", func(t *testing.T) {
		port := freePort(t)
		mustLoad(t, quiet(site(port, "test_user "+strings.Repeat("x", 129)+" y\n"+identified("caddy {\n optional\n }"))))
		expectRefusal(t, dialWebSocket(t, port, nil), "", "Invalid token")
	})
}
