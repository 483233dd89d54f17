package realtime

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/realtime/auth"
)

func TestTwoMethodsInTwoNamespaces(t *testing.T) {
	ours := newIssuer(t, "1")
	port := freePort(t)
	mustLoad(t, quiet(site(port, fmt.Sprintf(`realtime {
		auth jwt {
			secret %s
		}
		on whoami {
			ack user.id
		}
		namespace /inherits {
			on whoami {
				ack user.id
			}
		}
		namespace /staff {
			auth jwt {
				public_key %s
				from       cookie.staff
			}
			on whoami {
				ack user.id
			}
		}
		namespace /front {
			auth caddy
		}
	}`, testSecret, writeFile(t, "issuer.pem", ours.pem(t))))))
	c := dialWebSocket(t, port, http.Header{"Cookie": {"staff=" + ours.token(t, "eve")}})
	in := payload(token(t, "ann"))
	for _, tc := range []struct{ send, want string }{
		{"40" + in, `40{"sid":`},
		{`421["whoami"]`, `431["ann"]`},
		{"40/inherits," + in, `40/inherits,{"sid":`},
		{`42/inherits,2["whoami"]`, `43/inherits,2["ann"]`},
		{"40/staff," + in, `40/staff,{"sid":`}, // by the cookie: the payload is no source there
		{`42/staff,3["whoami"]`, `43/staff,3["eve"]`},
		{"40/front," + in, `44/front,{"message":"Authentication error"}`},
	} {
		if err := c.send(tc.send); err != nil {
			t.Fatal(err)
		}
		expect(t, c, tc.want)
	}
	other := dialWebSocket(t, port, http.Header{"Cookie": {"staff=" + token(t, "eve")}})
	if err := other.send("40/staff," + in); err != nil {
		t.Fatal(err)
	}
	expect(t, other, `44/staff,{"message":"Invalid token"}`)
}

func TestOnExpiryDecidesWhetherToKeep(t *testing.T) {
	for option, keep := range map[string]bool{"": false, `,"on_expiry":"disconnect"`: false, `,"on_expiry":"keep"`: true} {
		ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := ctx.LoadModuleByID("realtime.authenticators.jwt", []byte(`{"secret":"`+testSecret+`"`+option+`}`))
		if err != nil {
			t.Fatal(err)
		}
		id, err := m.(*JWT).Authenticate(t.Context(), &auth.Request{}, []byte(payload(token(t, "ann"))))
		if err != nil || id.KeepExpired != keep || id.Expires.IsZero() {
			t.Errorf("%s: got %+v, %v", option, id, err)
		}
	}
}
