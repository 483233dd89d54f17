package hub_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/broker"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

func typing(c hub.Call) {
	room := hub.Address{Name: strings.Trim(string(c.Event().Args.JSON), `"`)}
	switch c.Event().Name {
	case "start":
		c.End(c.Do(&hub.Typing{Room: room, Payload: args(`{"userId":"x"}`)}))
	case "stop":
		c.End(c.Do(&hub.Typing{Stop: true, Room: room}))
	default:
		rooms(c)
	}
}

// serveTyping runs f with three clients in room r: ann, bob, and eve, another
// device of ann. What they do not expect must not come.
func serveTyping(t *testing.T, f func(ann, bob, eve *siotest.Conn)) {
	c := hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{event: typing}, Auth: verifier{}}}}
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		var all []*siotest.Conn
		for _, payload := range []string{`{"token":"ann"}`, `{"token":"bob"}`, `{"token":"eve"}`} {
			c := n.WebSocket(wsPath)
			c.Join("/", payload)
			c.Send(`420["join","r"]`)
			c.Expect(`430[]`)
			all = append(all, c)
		}
		f(all[0], all[1], all[2])
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, c := range all {
			c.Quiet()
		}
	})
}

const (
	annTypes = `42["user-typing",{"userId":"x"}]`
	annStops = `42["user-stopped-typing",{"userId":"ann"}]`
)

func TestTypingStartsOnceAndEndsAtOnce(t *testing.T) {
	for name, end := range map[string]func(ann *siotest.Conn){
		"stop":       func(ann *siotest.Conn) { ann.Send(`42["stop","r"]`) },
		"leave":      func(ann *siotest.Conn) { ann.Send(`42["leave","other,r"]`) },
		"disconnect": func(ann *siotest.Conn) { ann.Send("41") },
		"vanish":     func(ann *siotest.Conn) { ann.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			serveTyping(t, func(ann, bob, eve *siotest.Conn) {
				for range 3 {
					ann.Send(`42["start","r"]`)
				}
				bob.Expect(annTypes)
				eve.Expect(annTypes)
				began := time.Now()
				end(ann)
				bob.Expect(annStops)
				eve.Expect(annStops)
				if took := time.Since(began); took > time.Second {
					t.Errorf("told after %v", took)
				}
			})
		})
	}
}

// A client that hides a name after 3 s shows it as long as its user types.
func TestTypingIsToldAgainOnceASecond(t *testing.T) {
	serveTyping(t, func(ann, bob, eve *siotest.Conn) {
		for range 40 { // for 8 s
			ann.Send(`42["start","r"]`)
			time.Sleep(200 * time.Millisecond)
		}
		synctest.Wait()
		for _, c := range []*siotest.Conn{bob, eve} {
			if heard := c.Heard(); len(heard) != 8 || slices.ContainsFunc(heard, func(m string) bool { return m != annTypes }) {
				t.Errorf("heard %q", heard)
			}
		}
		ann.Send(`42["stop","r"]`)
		ann.Send(`42["stop","r"]`)
		ann.Send(`42["start","r"]`) // begins anew: told at once
		for _, c := range []*siotest.Conn{bob, eve} {
			c.Expect(annStops, annTypes, annStops)
		}
	})
}

func TestTypingExpiresUnlessItGoesOn(t *testing.T) {
	serveTyping(t, func(ann, bob, eve *siotest.Conn) {
		start := time.Now()
		ann.Send(`42["start","r"]`)
		eve.Expect(annTypes)
		bob.Send(`42["start","r"]`)
		eve.Expect(annTypes)
		for i := range 10 { // only ann goes on
			time.Sleep(2 * time.Second)
			ann.Send(`42["start","r"]`)
			synctest.Wait()
			eve.Expect(annTypes)
			if i == 1 {
				time.Sleep(time.Second)
				eve.Expect(`42["user-stopped-typing",{"userId":"bob"}]`)
				start = start.Add(time.Second)
			}
		}
		eve.Quiet()
		eve.Expect(annStops)
		if took := time.Since(start); took != 25*time.Second {
			t.Errorf("she stopped after %v", took)
		}
		ann.Send(`42["stop","r"]`) // too late to be told again
		ann.Send(`42["start","r"]`)
		eve.Expect(annTypes, annStops)
		synctest.Wait()
		ann.Heard()
		bob.Heard()
	})
}

func TestTypingOnlyInRooms(t *testing.T) {
	serveTyping(t, func(ann, bob, eve *siotest.Conn) {
		for _, event := range []string{"start", "stop"} {
			for room, want := range map[string]string{
				"other":    `430[{"error":"Not in this room","code":"FORBIDDEN"}]`,
				"user:ann": `430[{"error":"Reserved room name","code":"FORBIDDEN"}]`,
				"":         `430[{"error":"Invalid room name","code":"INVALID"}]`,
			} {
				ann.Send(`420["` + event + `","` + room + `"]`)
				ann.Expect(want)
			}
		}
	})
}

// Others in the room hear it on other nodes, too.
func TestTypingIsHeardOnOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := broker.NewMemory()
		var conns []*siotest.Conn
		for _, user := range []string{"ann", "bob"} {
			b := bus.Node()
			t.Cleanup(func() { b.Close() })
			h := hub.New(hub.Config{Broker: b, Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{event: typing}, Auth: verifier{}}}})
			t.Cleanup(h.Close)
			c := siotest.Serve(t, http.HandlerFunc(h.Engine().ServeHTTP)).WebSocket(wsPath)
			c.Join("/", `{"token":"`+user+`"}`)
			c.Send(`420["join","r"]`)
			c.Expect(`430[]`)
			conns = append(conns, c)
		}
		conns[0].Send(`42["start","r"]`)
		conns[1].Expect(annTypes)
		began := time.Now()
		conns[0].Close()
		conns[1].Expect(annStops)
		if took := time.Since(began); took > time.Second {
			t.Errorf("told after %v", took)
		}
	})
}

// Whatever begins and ends typing at once: the room hears no end twice, no start
// twice within a second, and an end at last.
func TestTypingNeverEndsTwice(t *testing.T) {
	p := &script{event: func(c hub.Call) {
		if c.Event().Name != "start" && c.Event().Name != "stop" {
			typing(c)
			return
		}
		c.Suspend(false) // as a rule does that has asked something: it goes on beside later ones
		go typing(c)
	}}
	serveConfig(t, hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: p, Auth: verifier{}}}}, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		ann, eve := n.WebSocket(wsPath), n.WebSocket(wsPath)
		for _, c := range []*siotest.Conn{ann, eve} {
			c.Join("/", `{"token":"ann"}`)
			c.Send(`42["join","r"]`)
		}
		for i := range 3000 {
			ann.Send(`42["` + []string{"start", "stop"}[i%2] + `","r"]`)
			switch i % 50 {
			case 30:
				ann.Send(`42["leave","r"]`)
			case 33:
				ann.Send(`42["join","r"]`)
			case 40: // so that starts meet the expiry of those before
				ann.Send(`42["start","r"]`)
				time.Sleep(5 * time.Second)
			}
		}
		ann.Close()
		synctest.Wait()
		types, heard, again := false, 0, 0
		for _, m := range eve.Heard() {
			switch {
			case m == annTypes && types:
				again++
			case m != annTypes && m != annStops || (m == annTypes) == types:
				t.Fatalf("heard %s, typing %v", m, types)
			}
			types = m == annTypes
			heard++
		}
		if types || heard < 100 || again > 3000/50 { // pauses in which time goes by
			t.Errorf("heard %d, %d times that she still types, and in the end: %v", heard, again, types)
		}
	})
}
