package hub_test

import (
	"context"
	"strings"
	"testing"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

func TestPlain(t *testing.T) {
	conf := hub.Config{
		Engine: engine.Config{Plain: true},
		Namespaces: []hub.NamespaceConfig{
			{Name: "/", Policy: &script{event: rooms}},
			{Name: "/private", Policy: &script{event: rooms}, Auth: verifier{}},
		},
	}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c, sio := n.Open("/socket.io/", nil), n.WebSocket(wsPath)
		open := c.Next()
		id := strings.TrimSuffix(strings.TrimPrefix(open, `{"open":{"socket":"`), `","user":null,"ping":25000}}`)
		if len(id) != 20 {
			t.Fatalf("open: %s", open)
		}
		sio.Join("/", "")
		c.Send(`{"event":"join","args":["a"],"id":1}`)
		c.Expect(`{"ack":1,"args":[]}`)
		sio.Send(`42["to","a"]`)
		c.Expect(`{"event":"m","args":["a"]}`)
		sio.Send(`420["join","b"]`)
		sio.Expect(`430[]`)
		c.Send(`{"event":"to","args":["b"]}`)
		sio.Expect(`42["m","b"]`)
		c.Send(`{"event":"join","args":["user:x"],"id":2}`)
		c.Expect(`{"error":{"code":"FORBIDDEN","message":"Reserved room name"},"id":2}`)
		c.Send(`{"ping":7}`)
		c.Expect(`{"pong":7}`)
		c.Send(`{"connect":"/private"}`)
		c.Expect(`{"error":{"code":"FORBIDDEN","message":"Authentication error"},"ns":"/private"}`)
		c.Send(`{"connect":"/private","auth":{"token":"good"}}`)
		if m := c.Next(); !strings.HasPrefix(m, `{"connected":"/private","socket":"s_`) {
			t.Errorf("connected: %s", m)
		}
		c.Send(`{"nonsense":1}`)
		c.Expect("")
	})
}

func TestPlainAuth(t *testing.T) {
	conf := hub.Config{
		Engine:     engine.Config{Plain: true},
		Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{event: rooms}, Auth: verifier{}}},
	}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.Open("/socket.io/", nil)
		c.Send(`{"auth":{"token":"bad"}}`)
		c.Expect(`{"error":{"code":"FORBIDDEN","message":"Invalid token"}}`)
		c.Send(`{"auth":{"token":"good"}}`)
		if m := c.Next(); !strings.Contains(m, `"user":{"id":"ann"}`) {
			t.Errorf("open: %s", m)
		}
		n.Open("/socket.io/", nil).Expect("") // who never says who he is
	})
}

// optional lets clients without a token in.
type optional struct{ verifier }

func (o optional) Authenticate(ctx context.Context, h *engine.Handshake, payload []byte) (*auth.Identity, error) {
	if len(payload) == 0 || string(payload) == "{}" {
		return nil, nil
	}
	return o.verifier.Authenticate(ctx, h, payload)
}

func TestPlainOptionalAuth(t *testing.T) {
	conf := hub.Config{
		Engine:     engine.Config{Plain: true},
		Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{event: rooms}, Auth: optional{}}},
	}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		for first, user := range map[string]string{
			`{"auth":{"token":"good"}}`:            `{"id":"ann"}`,
			`{"auth":{}}`:                          `null`,
			`{"event":"join","args":["a"],"id":1}`: `null`,
		} {
			c := n.Open("/socket.io/", nil)
			c.Send(first)
			if m := c.Next(); !strings.Contains(m, `"user":`+user) {
				t.Errorf("after %s: %s", first, m)
			}
			if strings.Contains(first, "event") {
				c.Expect(`{"ack":1,"args":[]}`)
			}
		}
	})
}
