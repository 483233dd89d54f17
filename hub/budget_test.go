package hub_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

const limited = `[{"error":"Too many events","code":"RATE_LIMITED"}]`

// members is a hub whose clients say who they are: {"token":"bob"} or anybody
// else, who is ann.
func members(c hub.Config) hub.Config {
	c.Namespaces = []hub.NamespaceConfig{
		{Name: "/", Policy: &script{event: rooms}, Auth: verifier{}},
		{Name: "/b", Policy: &script{event: rooms}, Auth: verifier{}},
	}
	return c
}

// flood sends n events and counts those that were not refused.
func flood(c *siotest.Conn, namespace string, n int) (passed int) {
	for range n {
		c.Send("42" + namespace + `0["e"]`)
	}
	for range n {
		if !strings.HasSuffix(c.Next(), limited) {
			passed++
		}
	}
	return passed
}

func exhausted(t *testing.T, h *hub.Hub, kind string, want uint64) {
	t.Helper()
	if got := h.Stats().Exhausted[kind]; got != want {
		t.Errorf("%s exhausted %d times, want %d", kind, got, want)
	}
}

// Who floods is read later: to refuse is work, too.
func TestFloodIsReadLater(t *testing.T) {
	c := members(hub.Config{Events: budget.Rate{PerSecond: 10, Burst: 20}})
	c.Engine.Bytes = budget.Rate{PerSecond: 10_000, Burst: 80_000}
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		began := time.Now()
		flood(c, "", 30) // some are refused: not worth waiting for
		if d := time.Since(began); d != 0 {
			t.Errorf("the first refusals took %v", d)
		}
		if flood(c, "", 100); time.Since(began) < 3*time.Second {
			t.Errorf("a hundred more were refused within %v", time.Since(began))
		}
	})
}

func TestEvents(t *testing.T) {
	c := members(hub.Config{Events: budget.Rate{PerSecond: 100, Burst: 200}})
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		c.Join("/b", `{"token":"ann"}`)
		if got := flood(c, "", 250); got != 198 { // the two CONNECTs count
			t.Errorf("%d events passed at once", got)
		}
		exhausted(t, h, "events", 52)
		if got := flood(c, "/b,", 1); got != 0 {
			t.Error("another namespace has an allowance of its own")
		}
		time.Sleep(500 * time.Millisecond)
		if got := flood(c, "/b,", 100); got != 50 {
			t.Errorf("%d events passed half a second later", got)
		}
		time.Sleep(2 * time.Second)
		for range 300 { // who asks for no answer hears of it once
			c.Send(`42["e"]`)
		}
		synctest.Wait()
		c.Expect(`42["error",{"code":"RATE_LIMITED","message":"Too many events","event":"e"}]`)
		c.Quiet()
	})
}

// What cannot be refused is suffered for a while, then the connection ends.
func TestEventsOfOtherKinds(t *testing.T) {
	c := members(hub.Config{Events: budget.Rate{PerSecond: 100, Burst: 200}})
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		for range 399 {
			c.Send("437[]") // an acknowledgement that nobody asked for
		}
		c.Send(`420["e"]`)
		c.Expect("430" + limited)
		c.Send("437[]")
		c.Expect("")
	})
}

// A rule that joins many rooms for one event costs as many.
func TestJoinsCount(t *testing.T) {
	c := members(hub.Config{Events: budget.Rate{PerSecond: 10, Burst: 20}})
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		c.Send(`420["join","a,b,c,d,e,f,g,h,i,j"]`)
		c.Expect("430[]")
		c.Send(`420["join","k,l,m,n,o,p,q,r,s,t"]`)
		c.Expect(`430[{"error":"Too many rooms at once","code":"RATE_LIMITED"}]`)
	})
}

func TestConnects(t *testing.T) {
	c := members(hub.Config{Events: budget.Rate{PerSecond: 100, Burst: 200}})
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		for range 19 {
			c.Join("/b", `{"token":"ann"}`)
			c.Send("41/b,")
		}
		c.Send(`40/b,{"token":"ann"}`)
		c.Expect("")
		exhausted(t, h, "connects", 1)
	})
}

// What a user may send is shared by all connections, also by later ones.
func TestEventsOfOneUser(t *testing.T) {
	c := members(hub.Config{Events: budget.Rate{PerSecond: 1, Burst: 20}})
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		join := func(who string) *siotest.Conn {
			c := n.WebSocket(wsPath)
			c.Join("/", `{"token":"`+who+`"}`)
			return c
		}
		total := 0
		for range 12 {
			c := join("ann")
			total += flood(c, "", 30)
			c.Close()
			synctest.Wait()
		}
		if total < 195 || total > 200 {
			t.Errorf("%d events of one user passed", total)
		}
		if got := flood(join("bob"), "", 30); got != 19 {
			t.Errorf("%d events of another user passed", got)
		}
		time.Sleep(61 * time.Second)
		if got := flood(join("ann"), "", 30); got != 19 {
			t.Errorf("%d events passed a minute later", got)
		}
	})
}

// Anonymous ones share what their address may send.
func TestEventsOfOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub.New(hub.Config{
			Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{}}},
			Events:     budget.Rate{PerSecond: 1, Burst: 20},
		})
		n := siotest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.Engine().Serve(w, r, engine.Info{RemoteIP: r.Header.Get("From")})
		}))
		t.Cleanup(h.Close)
		total := 0
		open := func(ip string) *siotest.Conn {
			c := n.Open(wsPath, http.Header{"From": {ip}})
			c.Next()
			c.Join("/", "")
			return c
		}
		for range 12 {
			c := open("192.0.2.1")
			total += flood(c, "", 30)
		}
		if total < 185 || total > 195 {
			t.Errorf("%d events of one address passed", total)
		}
		if got := flood(open("192.0.2.2"), "", 30); got != 19 {
			t.Errorf("%d events of another address passed", got)
		}
	})
}

func TestFanout(t *testing.T) {
	c := members(hub.Config{Fanout: budget.Rate{PerSecond: 1000, Burst: 10_000}})
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		var readers []*siotest.Conn
		for range 10 {
			r := n.WebSocket(wsPath)
			r.Join("/", `{"token":"bob"}`)
			r.Send(`420["join","crowd"]`)
			r.Expect("430[]")
			readers = append(readers, r)
		}
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		message := strings.Repeat("x", 500)
		publish := func(want string, rooms string) {
			t.Helper()
			c.Send(`420["to","` + rooms + `"]`)
			c.Expect("430" + want)
			synctest.Wait()
			for _, r := range readers {
				if want == "[]" {
					r.Expect(`42["m","` + rooms + `"]`)
				}
				r.Quiet()
			}
		}
		const refused = `[{"error":"Too much to send","code":"RATE_LIMITED"}]`
		list := "crowd," + message[:200] // 223 bytes a receiver
		for range 4 {
			publish("[]", list)
		}
		publish(refused, list)
		exhausted(t, h, "fanout", 1)
		c.Send(`421["socket","nobody"]`) // what reaches nobody costs nothing
		c.Expect("431[]")
		time.Sleep(2 * time.Second)
		publish("[]", list)
		publish(refused, list)
		time.Sleep(10 * time.Second)
		publish("[]", "crowd") // from a full allowance
	})
}

// One message that is larger than the burst passes, and is paid for after.
func TestFanoutOfOneLargeMessage(t *testing.T) {
	c := members(hub.Config{Fanout: budget.Rate{PerSecond: 1000, Burst: 1000}})
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		large := `"` + strings.Repeat("x", 9000) + `"`
		c.Send(`42["all",` + large + `]`)
		c.Expect(`42["m",` + large + `]`)
		c.Send(`420["all",1]`)
		c.Expect(`430[{"error":"Too much to send","code":"RATE_LIMITED"}]`)
		time.Sleep(9100 * time.Millisecond)
		c.Send(`42["all",1]`)
		c.Expect(`42["m",1]`)
	})
}

func TestConnectionsPerUser(t *testing.T) {
	c := members(hub.Config{ConnectionsPerUser: 3})
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		var open []*siotest.Conn
		for range 3 {
			c := n.WebSocket(wsPath)
			c.Join("/", `{"token":"ann"}`)
			c.Join("/b", `{"token":"ann"}`) // still the same connection
			open = append(open, c)
		}
		c := n.WebSocket(wsPath)
		c.Send(`40{"token":"ann"}`)
		c.Expect(`44{"message":"Too many connections","data":{"code":"LIMIT"}}`) // final
		c.Join("/", `{"token":"bob"}`)                                           // and the connection is good for another user
		exhausted(t, h, "connections_per_user", 1)
		n.WebSocket(wsPath).Join("/", `{"token":"bob"}`)
		open[1].Close()
		synctest.Wait()
		n.WebSocket(wsPath).Join("/", `{"token":"ann"}`)
	})
}

// A phone that comes back again and again, and whose lost connections nobody
// closed, always gets in; the user's other devices stay.
func TestReconnectingPhone(t *testing.T) {
	c := members(hub.Config{ConnectionsPerUser: 20})
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		laptop := n.WebSocket(wsPath)
		laptop.Join("/", `{"token":"ann"}`)
		for i := range 30 {
			phone := n.WebSocket(wsPath)
			phone.Mute()
			phone.Send(fmt.Sprintf(`40{"token":"ann%d"}`, i)) // ann, whatever the number
			if got := phone.Next(); !strings.HasPrefix(got, `40{"sid"`) {
				t.Fatalf("time %d: %q", i, got)
			}
			time.Sleep(1500 * time.Millisecond)
		}
		laptop.Send(`420["e"]`)
		laptop.Expect("430[]")
	})
}

// A namespace may take fewer connections of a user than the hub, and each of
// its sockets into more rooms.
func TestLimitsOfNamespace(t *testing.T) {
	c := members(hub.Config{ConnectionsPerUser: 4, RoomsPerSocket: 1})
	c.Namespaces[1].ConnectionsPerUser, c.Namespaces[1].RoomsPerSocket = 2, 3
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		var open []*siotest.Conn
		for range 2 {
			c := n.WebSocket(wsPath)
			c.Join("/", `{"token":"ann"}`)
			c.Join("/b", `{"token":"ann"}`)
			open = append(open, c)
		}
		third := n.WebSocket(wsPath)
		third.Join("/", `{"token":"ann"}`)
		third.Send(`40/b,{"token":"ann"}`)
		third.Expect(`44/b,{"message":"Too many connections","data":{"code":"LIMIT"}}`) // final
		exhausted(t, h, "connections_per_user", 1)
		n.WebSocket(wsPath).Join("/b", `{"token":"bob"}`)

		open[0].Send(`42/b,0["join","x,y,z"]`)
		open[0].Expect(`43/b,0[]`)
		open[0].Send(`42/b,1["join","q"]`)
		open[0].Expect(`43/b,1[{"error":"Too many rooms: at most 3","code":"LIMIT"}]`)
		open[0].Send(`420["join","x"]`)
		open[0].Expect(`430[]`)
		open[0].Send(`421["join","y"]`)
		open[0].Expect(`431[{"error":"Too many rooms: at most 1","code":"LIMIT"}]`)

		// A lower limit keeps who is in, and lets nobody in.
		lower := c
		lower.Namespaces = slices.Clone(c.Namespaces)
		lower.Namespaces[1].ConnectionsPerUser, lower.Namespaces[1].RoomsPerSocket = 1, 2
		h.Update(lower)
		open[1].Send(`42/b,0["join","x,y,z"]`)
		open[1].Expect(`43/b,0[{"error":"Too many rooms: at most 2","code":"LIMIT"}]`)
		open[0].Close()
		synctest.Wait()
		late := n.WebSocket(wsPath)
		late.Send(`40/b,{"token":"ann"}`)
		late.Expect(`44/b,{"message":"Too many connections","data":{"code":"LIMIT"}}`)
		open[1].Send(`42/b,1["join","x"]`)
		open[1].Expect(`43/b,1[]`)
	})
}

// A silent connection in the namespace gives way there, too.
func TestSilentConnectionInNamespace(t *testing.T) {
	c := members(hub.Config{})
	c.Namespaces[1].ConnectionsPerUser = 1
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		phone := n.WebSocket(wsPath)
		phone.Mute()
		phone.Send(`40/b,{"token":"ann"}`)
		if got := phone.Next(); !strings.HasPrefix(got, `40/b,{"sid"`) {
			t.Fatal(got)
		}
		time.Sleep(30 * time.Second) // it was pinged
		n.WebSocket(wsPath).Join("/b", `{"token":"ann"}`)
	})
}
