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

// members is a hub whose clients say who they are: {"token":"bob"} or anybody
// else, who is ann.
func members(c hub.Config) hub.Config {
	c.Namespaces = []hub.NamespaceConfig{
		{Name: "/", Policy: &script{event: rooms}, Auth: verifier{}},
		{Name: "/b", Policy: &script{event: rooms}, Auth: verifier{}},
	}
	return c
}

// limited is members with a limit of one kind.
func limited(k budget.Kind, perSecond, burst float64) hub.Config {
	var c hub.Config
	c.Engine.Rates[k] = budget.Rate{PerSecond: perSecond, Burst: burst}
	return members(c)
}

// flood sends n events and returns how long it takes until all are answered.
func flood(t *testing.T, c *siotest.Conn, namespace string, n int) time.Duration {
	t.Helper()
	began := time.Now()
	for i := range n {
		c.Send(fmt.Sprintf(`42%s%d["e"]`, namespace, i))
	}
	for i := range n {
		c.Expect(fmt.Sprintf("43%s%d[]", namespace, i))
	}
	return time.Since(began)
}

// about fails unless d is want, and at most a second longer: slowed clients are
// looked at in turns.
func about(t *testing.T, d, want time.Duration) {
	t.Helper()
	if d < want || d > want+time.Second {
		t.Errorf("it took %v, want %v", d, want)
	}
}

func exhausted(t *testing.T, h *hub.Hub, kind string, want bool) {
	t.Helper()
	if got := h.Stats().Exhausted[kind]; (got > 0) != want {
		t.Errorf("%s exhausted %d times", kind, got)
	}
}

// A client that sends more events than it may waits. Nothing is refused or lost,
// and another namespace has no allowance of its own.
func TestEventsBeyondLimitAreHandledLater(t *testing.T) {
	serveConfig(t, limited(budget.Events, 100, 200), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		c.Join("/b", `{"token":"ann"}`)
		about(t, flood(t, c, "", 198), 0) // the two CONNECTs count
		exhausted(t, h, "events", false)
		about(t, flood(t, c, "/b,", 500), 5*time.Second-10*time.Millisecond)
		exhausted(t, h, "events", true)
	})
}

// Acknowledgements are events as well: too many of them end nothing.
func TestFloodOfAcksEndsNothing(t *testing.T) {
	serveConfig(t, limited(budget.Events, 100, 200), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		began := time.Now()
		for range 1200 {
			c.Send("437[]") // that nobody asked for
		}
		c.Send(`420["e"]`)
		c.Expect("430[]")
		about(t, time.Since(began), 10*time.Second)
	})
}

// Packets that a connection may not send any more, since it is about to be closed,
// count as well.
func TestFloodBeforePassingCloseCounts(t *testing.T) {
	serveConfig(t, limited(budget.Events, 1, 20), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		c.Send(`40/b,{"token":"down"}`)
		for range 10 {
			c.Send("40/b,")
			c.Send("42/nowhere,[1]")
		}
		synctest.Wait()
		exhausted(t, h, "events", true)
	})
}

// A rule that joins many rooms for one event costs as many.
func TestJoinOfManyRoomsCountsForEach(t *testing.T) {
	serveConfig(t, limited(budget.Events, 10, 20), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		began := time.Now()
		c.Send(`420["join","a,b,c,d,e,f,g,h,i,j"]`)
		c.Expect("430[]")
		c.Send(`421["join","k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,1,2,3,4"]`)
		c.Expect("431[]")
		about(t, time.Since(began), 0)
		about(t, flood(t, c, "", 1), 1100*time.Millisecond) // 31 of 20 are used
	})
}

// The time that a policy takes counts, wherever it was spent.
func TestTimeOfPolicyBeyondLimitMakesClientWait(t *testing.T) {
	c := limited(budget.CPU, 20e6, 500e6)
	c.Namespaces[0].Policy = &script{event: func(c hub.Call) {
		c.Worked(10 * time.Millisecond)
		c.End(nil)
	}}
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		about(t, flood(t, c, "", 50), 0)
		about(t, flood(t, c, "", 20), 9500*time.Millisecond)
		exhausted(t, h, "cpu", true)
	})
}

// What others send reaches a client that has to wait.
func TestSlowedClientHearsOthers(t *testing.T) {
	serveConfig(t, limited(budget.Events, 1, 10), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c, other := n.WebSocket(wsPath), n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		other.Join("/", `{"token":"bob"}`)
		go func() {
			for range 30 {
				c.Send(`42["e"]`)
			}
		}()
		synctest.Wait()
		began := time.Now()
		other.Send(`42["all",1]`)
		c.Expect(`42["m",1]`)
		about(t, time.Since(began), 0)
	})
}

// A reload that lifts the limit ends the wait.
func TestReloadThatLiftsLimit(t *testing.T) {
	serveConfig(t, limited(budget.Events, 1, 10), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		time.AfterFunc(5*time.Second, func() { h.Update(members(hub.Config{})) })
		about(t, flood(t, c, "", 1000), 5*time.Second)
	})
}

func TestConnectsBeyondTheRateEndTheConnection(t *testing.T) {
	serveConfig(t, limited(budget.Events, 100, 200), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann"}`)
		for range 19 {
			c.Join("/b", `{"token":"ann"}`)
			c.Send("41/b,")
		}
		c.Send(`40/b,{"token":"ann"}`)
		c.Expect("")
		exhausted(t, h, "connects", true)
	})
}

// What a user may send is shared by all connections, also by later ones.
func TestEventsOfOneUser(t *testing.T) {
	serveConfig(t, limited(budget.Events, 1, 20), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		join := func(who string) *siotest.Conn {
			c := n.WebSocket(wsPath)
			c.Join("/", `{"token":"`+who+`"}`)
			return c
		}
		for range 10 {
			c := join("ann")
			about(t, flood(t, c, "", 19), 0)
			c.Close()
			synctest.Wait()
		}
		about(t, flood(t, join("ann"), "", 19), 800*time.Millisecond) // ten a second of all, and 200 at once
		about(t, flood(t, join("bob"), "", 19), 0)
		time.Sleep(61 * time.Second)
		about(t, flood(t, join("ann"), "", 19), 0)
	})
}

// Anonymous ones share what their address may send: those that flood wait for
// each other, and one that sends little for its turn among them.
func TestEventsOfOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{}}}}
		c.Engine.Rates[budget.Events] = budget.Rate{PerSecond: 10, Burst: 20}
		h := hub.New(c)
		n := siotest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.Engine().Serve(w, r, engine.Info{RemoteIP: r.Header.Get("From")})
		}))
		t.Cleanup(h.Close)
		open := func(ip string) *siotest.Conn {
			c := n.Open(wsPath, http.Header{"From": {ip}})
			c.Next()
			c.Join("/", "")
			return c
		}
		honest := open("192.0.2.1")
		var floods []*siotest.Conn
		for range 30 {
			floods = append(floods, open("192.0.2.1"))
		}
		for _, c := range floods {
			go func() {
				for range 100 {
					c.Send(`42["e"]`)
				}
			}()
		}
		synctest.Wait()
		for range 5 { // 30 floods at 100 a second of all
			if d := flood(t, honest, "", 1); d > 1500*time.Millisecond {
				t.Errorf("one event beside floods took %v", d)
			}
		}
		about(t, flood(t, open("192.0.2.2"), "", 19), 0)
	})
}

// Fanout is what an event causes to be sent. It is sent, and paid for after.
func TestFanoutBeyondLimitMakesSenderWait(t *testing.T) {
	serveConfig(t, limited(budget.Fanout, 1000, 10_000), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
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
		list := "crowd," + strings.Repeat("x", 200) // 223 bytes a receiver
		publish := func() time.Duration {
			began := time.Now()
			c.Send(`420["to","` + list + `"]`)
			c.Expect("430[]")
			for _, r := range readers {
				r.Expect(`42["m","` + list + `"]`)
			}
			return time.Since(began)
		}
		for range 4 {
			about(t, publish(), 0)
		}
		exhausted(t, h, "fanout", false)
		about(t, publish(), 0) // more than is left
		about(t, publish(), 1150*time.Millisecond)
		exhausted(t, h, "fanout", true)
		about(t, publish(), 2*time.Second)
	})
}

func TestConnectionsOfAUserAreBounded(t *testing.T) {
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
		exhausted(t, h, "connections_per_user", true)
		n.WebSocket(wsPath).Join("/", `{"token":"bob"}`)
		open[1].Close()
		synctest.Wait()
		n.WebSocket(wsPath).Join("/", `{"token":"ann"}`)
	})
}

// A phone that comes back again and again, and whose lost connections nobody
// closed, always gets in; the user's other devices stay.
func TestReconnectingPhoneAlwaysGetsIn(t *testing.T) {
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
func TestNamespaceMaySetItsOwnLimits(t *testing.T) {
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
		exhausted(t, h, "connections_per_user", true)
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
