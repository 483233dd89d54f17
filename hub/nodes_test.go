package hub_test

import (
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/caddy-realtime/realtime/broker"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

func TestNodesShareRoomsUsersAndSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := broker.NewMemory()
		node := func(namespaces ...string) (*hub.Hub, *siotest.Network) {
			b := bus.Node()
			t.Cleanup(func() { b.Close() })
			conf := hub.Config{Broker: b}
			for _, name := range namespaces {
				conf.Namespaces = append(conf.Namespaces, hub.NamespaceConfig{Name: name, Policy: &script{event: rooms}, Auth: verifier{}})
			}
			h := hub.New(conf)
			t.Cleanup(h.Close)
			return h, siotest.Serve(t, http.HandlerFunc(h.Engine().ServeHTTP))
		}
		h1, n1 := node("/")
		h2, n2 := node("/", "/other")
		ann, bob, ann2 := n1.WebSocket(wsPath), n2.WebSocket(wsPath), n2.WebSocket(wsPath)
		ann.Join("/", `{"token":"ann"}`)
		bobID := bob.Join("/", `{"token":"bob"}`)
		ann2.Join("/", `{"token":"ann"}`)
		all := []*siotest.Conn{ann, bob, ann2}
		quiet := func() {
			t.Helper()
			synctest.Wait()
			for _, c := range all {
				c.Quiet()
			}
		}
		for _, c := range []*siotest.Conn{ann, bob} {
			c.Send(`420["join","a"]`)
			c.Expect(`430[]`)
		}
		heard := func(packet, want string, who ...*siotest.Conn) {
			t.Helper()
			ann.Send(packet)
			for _, c := range who {
				c.Expect(want)
			}
			quiet()
		}
		heard(`42["to","a"]`, `42["m","a"]`, ann, bob)
		heard(`42["all",{"x":1.0}]`, `42["m",{"x":1.0}]`, ann, bob, ann2)
		heard(`42["others","x"]`, `42["m","x"]`, bob, ann2)
		heard(`42["except","a"]`, `42["m","a"]`, ann2)
		heard(`42["user","ann"]`, `42["m",1]`, ann, ann2)
		heard(`42["socket","`+bobID+`"]`, `42["m",1]`, bob)
		heard(`42["nobody"]`, "")

		// Whatever comes from outside reaches clients only if they can take it.
		outside := bus.Node()
		outside.Subscribe(func(*broker.Message) {})
		defer outside.Close()
		for _, m := range []broker.Message{
			{Event: "disconnect", JSON: []byte(`1`)},
			{Event: "error", JSON: []byte(`1`)},
			{Event: "", JSON: []byte(`1`)},
			{Event: "e", JSON: []byte(`{"a"`)},
			{Event: "e", JSON: []byte(`1],[2`)},
			{Event: "e", JSON: []byte(`{"_placeholder":true,"num":7}`), Bin: [][]byte{{1}}},
		} {
			m.Namespace, m.All = "/", true
			if err := outside.Publish(&m); err != nil {
				t.Fatal(err)
			}
		}
		quiet()
		for _, h := range []*hub.Hub{h1, h2} {
			if got := h.Stats().Undelivered; got != 6 {
				t.Errorf("%d messages counted as malformed", got)
			}
		}
	})
}

// A socket sends to sockets of another namespace, here and on other nodes. A
// broadcast leaves the socket out that its own connection has there.
func TestEmissionsToAnotherNamespace(t *testing.T) {
	of := func(c hub.Call) {
		e := hub.Emission{Event: c.Event().Name, Args: c.Event().Args, Scope: hub.ToRooms, Namespace: "/chat"}
		switch c.Event().Name {
		case "join":
			rooms(c)
			return
		case "room", "other":
			e.To = room("r")
		case "mine":
			e.To = room(c.Event().Socket.Rooms()...)
		case "all":
			e.Scope = hub.ToAll
			e.Except = room("quiet")
		case "nowhere":
			e.To, e.Namespace = room("r"), "/none"
		case "own":
			e.To, e.Namespace = room("r"), "/"
		}
		e.NotSelf = c.Event().Name == "other" || c.Event().Name == "own"
		c.End(c.Do(&e))
	}
	synctest.Test(t, func(t *testing.T) {
		bus := broker.NewMemory()
		node := func() *siotest.Network {
			b := bus.Node()
			t.Cleanup(func() { b.Close() })
			p := &script{event: of}
			h := hub.New(hub.Config{Broker: b, Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: p, Auth: verifier{}}, {Name: "/chat", Policy: p, Auth: verifier{}}}})
			t.Cleanup(h.Close)
			return siotest.Serve(t, http.HandlerFunc(h.Engine().ServeHTTP))
		}
		here, there, empty := node(), node(), node()
		join := func(n *siotest.Network, user, nsp, room string) *siotest.Conn {
			c := n.WebSocket(wsPath)
			c.Join("/", `{"token":"`+user+`"}`)
			if nsp != "/" {
				c.Join(nsp, `{"token":"`+user+`"}`)
			}
			c.Send(`42` + wire(nsp) + `0["join","` + room + `"]`)
			c.Expect(`43` + wire(nsp) + `0[]`)
			return c
		}
		ann := join(here, "ann", "/chat", "r") // in both, and sends from /
		bob, eve := join(here, "bob", "/chat", "r"), join(there, "bob", "/chat", "r")
		quiet := join(there, "bob", "/chat", "quiet")
		plain := join(here, "bob", "/", "r")
		phone := join(there, "ann", "/chat", "phone")
		from := empty.WebSocket(wsPath) // a node where nobody is in /chat
		from.Join("/", `{"token":"bob"}`)
		for _, tc := range []struct {
			sender *siotest.Conn
			event  string
			want   []*siotest.Conn
		}{
			{ann, "room", []*siotest.Conn{ann, bob, eve}},
			{ann, "other", []*siotest.Conn{bob, eve}},
			{ann, "mine", []*siotest.Conn{ann, phone}},
			{ann, "all", []*siotest.Conn{ann, bob, eve, phone}},
			{ann, "nowhere", nil},
			{from, "room", []*siotest.Conn{ann, bob, eve}},
			{from, "other", []*siotest.Conn{ann, bob, eve}},
		} {
			tc.sender.Send(`42["` + tc.event + `",1]`)
			for _, c := range tc.want {
				c.Expect(`42/chat,["` + tc.event + `",1]`)
			}
			synctest.Wait()
			for _, c := range []*siotest.Conn{ann, bob, eve, quiet, plain, phone, from} {
				c.Quiet()
			}
		}
		ann.Send(`42["own",1]`)
		plain.Expect(`42["own",1]`)
	})
}

func wire(nsp string) string {
	if nsp == "/" {
		return ""
	}
	return nsp + ","
}
