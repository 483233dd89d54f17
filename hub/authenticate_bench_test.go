package hub_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/hub"
)

const benchSecret = "0123456789abcdef0123456789abcdef"

// secretAuth verifies tokens by a shared secret, which never blocks.
type secretAuth struct{ *auth.Verifier }

func (a secretAuth) Authenticate(ctx context.Context, _ *auth.Request, payload []byte) (*auth.Identity, error) {
	return a.Verifier.Authenticate(ctx, payload, auth.Credentials{})
}

func (secretAuth) NeverBlocks() bool { return true }

// BenchmarkConnect measures CONNECT and leaving again: "open" on a connection
// that is there, "dial" with a connection of its own, over TCP.
func BenchmarkConnect(b *testing.B) {
	v, err := auth.NewVerifier(auth.Config{Secret: benchSecret})
	if err != nil {
		b.Fatal(err)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}).SignedString([]byte(benchSecret))
	if err != nil {
		b.Fatal(err)
	}
	for name, a := range map[string]hub.Authenticator{"anonymous": nil, "secret": secretAuth{v}} {
		h := hub.New(hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{}, Auth: a}}})
		srv := httptest.NewServer(http.HandlerFunc(h.Engine().ServeHTTP))
		b.Cleanup(func() { h.Close(); srv.Close() })
		url := "ws" + strings.TrimPrefix(srv.URL, "http") + wsPath
		connect := []byte(`40{"token":"` + token + `"}`)
		b.Run(name+"/open", func(b *testing.B) {
			b.ReportAllocs()
			ws := benchDial(b, url)
			defer ws.Close()
			for b.Loop() {
				benchConnect(b, ws, connect)
				if err := ws.WriteMessage(websocket.TextMessage, []byte("41")); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/dial", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ws := benchDial(b, url)
				benchConnect(b, ws, connect)
				ws.Close()
			}
		})
	}
}

func benchDial(b *testing.B, url string) *websocket.Conn {
	ws, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(); err != nil { // the handshake
		b.Fatal(err)
	}
	return ws
}

func benchConnect(b *testing.B, ws *websocket.Conn, packet []byte) {
	if err := ws.WriteMessage(websocket.TextMessage, packet); err != nil {
		b.Fatal(err)
	}
	if _, m, err := ws.ReadMessage(); err != nil || !strings.HasPrefix(string(m), "40{") {
		b.Fatalf("CONNECT: %s %v", m, err)
	}
}
