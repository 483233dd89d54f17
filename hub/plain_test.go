package hub_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/siotest"
	"github.com/caddy-realtime/realtime/parser"
)

func TestPlainClientsShareRoomsWithSocketIO(t *testing.T) {
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
		c.Expect(`{"error":{"code":"INVALID","message":"\"nonsense\": unknown member"}}`)
	})
}

// A wrong member costs the frame: its error names it, and the connection stays.
func TestWrongMemberCostsThePlainFrame(t *testing.T) {
	asked := make(chan string, 10)
	conf := hub.Config{
		Engine: engine.Config{Plain: true},
		Namespaces: []hub.NamespaceConfig{
			{Name: "/", Policy: &script{event: func(c hub.Call) {
				if c.Event().Name != "ask" {
					rooms(c)
					return
				}
				c.Suspend(false)
				c.Do(&hub.Ask{Event: "question", Args: parser.Args{}, Timeout: time.Second, Then: func(_ parser.Args, r *hub.Refusal) {
					asked <- r.Error()
					c.End(nil)
				}})
			}}},
			{Name: "/chat", Policy: &script{event: rooms}},
		},
	}
	wrong := func(code, message, rest string) string {
		return `{"error":{"code":"` + code + `","message":"` + message + `"}` + rest + `}`
	}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.Open("/socket.io/", nil)
		c.Next()
		for _, step := range []struct{ frame, answer string }{
			{`{}`, wrong("INVALID", "a frame must have one of the members event, ack, connect, disconnect, auth and ping", "")},
			{`{"event":7,"id":1}`, wrong("INVALID", "event: must be a string", `,"id":1`)},
			{`{"event":"a\n","id":2,"ns":"/chat"}`, wrong("INVALID", "event: control character in the name", `,"id":2,"ns":"/chat"`)},
			{`{"event":"disconnect","id":3}`, wrong("FORBIDDEN", "event: reserved event name", `,"id":3`)},
			{`{"event":"join","args":"a","id":4}`, wrong("INVALID", "args: must be an array", `,"id":4`)},
			{`{"event":"join","args":[0` + strings.Repeat(",0", 64) + `]}`, wrong("TOO_LARGE", "args: 65 arguments, at most 64", "")},
			{`{"event":"join","args":["a"],"id":"x"}`, wrong("INVALID", "id: must be a whole number from 0 to 9007199254740991", "")},
			{`{"event":"join","args":["a"],"ID":5}`, wrong("INVALID", `\"ID\": unknown member`, "")},
			{`{"event":"join","ns":"chat","id":6}`, wrong("INVALID", "ns: must begin with a slash", `,"id":6`)},
			{`{"event":"join","ns":"/chat","id":7}`, wrong("INVALID", "ns: not connected", `,"id":7,"ns":"/chat"`)},
			{`{"ack":1,"ns":"/chat"}`, wrong("INVALID", "ns: not connected", `,"ns":"/chat"`)},
			{`{"disconnect":"/chat"}`, wrong("INVALID", "disconnect: not connected", `,"ns":"/chat"`)},
			{`{"disconnect":1}`, wrong("INVALID", "disconnect: must be a string", "")},
			{`{"connect":"/"}`, wrong("INVALID", "connect: already connected", "")},
			{`{"connect":"/chat","auth":"x"}`, wrong("INVALID", "auth: must be an object", `,"ns":"/chat"`)},
			{`{"connect":"/nowhere"}`, wrong("INVALID", "Invalid namespace", `,"ns":"/nowhere"`)},
			{`{"auth":{"token":"x"}}`, wrong("INVALID", "auth: already connected", "")},
			{`{"auth":"x"}`, wrong("INVALID", "auth: must be an object", "")},
			{`{"ping":"1"}`, wrong("INVALID", "ping: must be a number", "")},
			{`{"event":"join","args":[{"$bin":"?"}],"id":8}`, wrong("INVALID", "args: $bin is not base64", `,"id":8`)},
			{`{"event":"join","args":["a"],"id":9}`, `{"ack":9,"args":[]}`},
		} {
			c.Send(step.frame)
			c.Expect(step.answer)
		}
		c.Send(`{"event":"ask","id":10}`)
		c.Expect(`{"event":"question","args":[],"id":0}`)
		c.Send(`{"ack":0,"args":1}`)
		c.Expect(wrong("INVALID", "args: must be an array", ""), `{"ack":10,"args":[]}`)
		if got := <-asked; got != "INVALID: args: must be an array" {
			t.Errorf("the rule that asked got %s", got)
		}
	})
}

// A client that has to say who it is may do so after a first frame with a
// mistake.
func TestPlainWrongFirstFrame(t *testing.T) {
	conf := hub.Config{
		Engine:     engine.Config{Plain: true},
		Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{event: rooms}, Auth: verifier{}}},
	}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.Open("/socket.io/", nil)
		c.Send(`{"auth":"good"}`)
		c.Expect(`{"error":{"code":"INVALID","message":"auth: must be an object"}}`)
		c.Send(`{"auth":{"token":"good"}}`)
		if m := c.Next(); !strings.Contains(m, `"user":{"id":"ann"}`) {
			t.Errorf("open: %s", m)
		}
	})
}

// What is not a frame closes the connection, with a code and a reason.
func TestPlainIsNotAFrame(t *testing.T) {
	conf := hub.Config{Engine: engine.Config{Plain: true}, Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{event: rooms}}}}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		for message, reason := range map[string]string{
			"":                     "invalid payload: unexpected end of JSON at offset 0",
			"hello":                "invalid payload: not a JSON value at offset 0",
			`{"event":"a",}`:       "invalid payload: object key expected at offset 13",
			`["event"]`:            "invalid payload: not an object",
			`7`:                    "invalid payload: not an object",
			"{\"event\":\"\xff\"}": "text is not UTF-8",
			`{"event":"a","args":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`: "invalid payload: nested too deep at offset 148",
		} {
			c := n.Open("/socket.io/", nil)
			c.Next()
			c.Send(message)
			c.ExpectClose(1007, reason)
		}
		c := n.Open("/socket.io/", nil)
		c.Next()
		c.SendBinary([]byte(`{"ping":1}`))
		c.ExpectClose(1003, `binary message: send JSON as text, with binary values as {"$bin": "<base64>"}`)
	})
}

// Frames with mistakes count as events do: a flood of them is read later.
func TestPlainFloodOfMistakes(t *testing.T) {
	conf := hub.Config{
		Engine:     engine.Config{Plain: true, Rates: budget.Rates{budget.Events: {PerSecond: 10, Burst: 20}}},
		Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{event: rooms}}},
	}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.Open("/socket.io/", nil)
		c.Next()
		began := time.Now()
		for range 120 {
			c.Send(`{"event":1}`)
		}
		for range 120 {
			if c.Next() == "" {
				t.Fatal("closed")
			}
		}
		about(t, time.Since(began), 9900*time.Millisecond)
	})
}

func TestPlainClientMustAuthenticate(t *testing.T) {
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

func (o optional) Authenticate(ctx context.Context, r *auth.Request, payload []byte) (*auth.Identity, error) {
	if len(payload) == 0 || string(payload) == "{}" {
		return nil, nil
	}
	return o.verifier.Authenticate(ctx, r, payload)
}

func TestPlainClientMayStayAnonymous(t *testing.T) {
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
