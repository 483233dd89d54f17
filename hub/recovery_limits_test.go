package hub_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/siotest"
	"github.com/caddy-realtime/realtime/internal/testenv"
	"github.com/caddy-realtime/realtime/recovery"
)

// held is what is held for recovery.
func held(m *budget.Memory) int { return int(m.Of(budget.Recovery)) }

func TestRecoveryFollowsTheReloadedConfig(t *testing.T) {
	spec := func(k *keeper, names ...string) (all []hub.NamespaceConfig) {
		for _, name := range names {
			all = append(all, hub.NamespaceConfig{Name: name, Policy: k})
		}
		return all
	}
	with := func(k *keeper, window time.Duration, names ...string) hub.Config {
		return hub.Config{Namespaces: spec(k, names...), Recovery: hub.RecoveryConfig{Window: window}}
	}

	t.Run("a shorter window holds for all who are lost", func(t *testing.T) {
		withRecovery(t, func(c *hub.Config) { c.Recovery.Window = time.Hour }, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			a.breaks()
			h.Update(with(k, 10*time.Second, "/"))
			b.breaks()
			k.said()
			time.Sleep(11 * time.Second)
			if got := k.said(); len(got) != 2 {
				t.Errorf("after the window: %q", got)
			}
			for _, v := range []*visitor{a, b} {
				if v.visit(n); v.recovered {
					t.Error("recovered after the window")
				}
			}
		})
	})

	t.Run("a longer window, too", func(t *testing.T) {
		withRecovery(t, func(c *hub.Config) { c.Recovery.Window = 10 * time.Second }, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			a.breaks()
			h.Update(with(k, time.Hour, "/"))
			b.does("all", "one")
			time.Sleep(59 * time.Minute)
			if got := a.visit(n).heard(); got != "one" || !a.recovered {
				t.Errorf("recovered %v, heard %q", a.recovered, got)
			}
		})
	})

	t.Run("off and on again forgets", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b, c := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			b.does("all", "1")
			a.heard()
			a.breaks()
			k.said()
			h.Update(with(k, 0, "/"))
			if got := k.said(); len(got) != 1 || got[0] != "disconnect transport close" {
				t.Errorf("when it was turned off: %q", got)
			}
			c.Send(`42["all","2"]`)
			c.Send(`42["all","3"]`)
			synctest.Wait()
			h.Update(with(k, time.Minute, "/"))
			b.does("all", "4")
			if got := a.visit(n).heard(); got != "" || a.recovered {
				t.Errorf("recovered %v, heard %q", a.recovered, got)
			}
			// One that was there all the time has heard what has no offset.
			c.breaks()
			if c.visit(n); c.recovered {
				t.Error("recovered one that is from before")
			}
			b.does("all", "5")
			a.breaks() // it has heard nothing but what it claims from its earlier life
			a.offset = "AAAAAAAA1"
			if a.visit(n); a.recovered {
				t.Error("recovered with an offset from an earlier life")
			}
		})
	})

	t.Run("a namespace that is removed leaves nothing, and knows nothing when it is back", func(t *testing.T) {
		var m *budget.Memory
		change := func(c *hub.Config) {
			m = c.Engine.UsedMemory
			c.Namespaces = append(c.Namespaces, hub.NamespaceConfig{Name: "/chat", Policy: c.Namespaces[0].Policy})
		}
		withRecovery(t, change, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			k.farewell = strings.Repeat("x", 1000)
			before := held(m)
			for range 3 {
				a := (&visitor{t: t, ns: "/chat,"}).visit(n)
				b := (&visitor{t: t, ns: "/chat,"}).visit(n)
				for range 100 {
					b.does("all", strings.Repeat("x", 1000))
				}
				a.heard()
				a.breaks()
				lost := *a
				h.Update(with(k, time.Minute, "/"))
				synctest.Wait()
				if now := held(m); now != before {
					t.Errorf("%d bytes are held, %d before", now, before)
				}
				h.Update(with(k, time.Minute, "/", "/chat"))
				if lost.visit(n); lost.recovered {
					t.Error("recovered in the next namespace of that name")
				}
				offset := lost.offset // the stock client keeps it
				c := (&visitor{t: t, ns: "/chat,"}).visit(n)
				for range 120 {
					c.does("all", "missed")
				}
				lost.breaks()
				lost.offset = offset
				if lost.visit(n); lost.recovered || offset == "" {
					t.Error("recovered with an offset of the earlier namespace")
				}
				h.Update(with(k, time.Minute, "/"))
				synctest.Wait()
				h.Update(with(k, time.Minute, "/", "/chat"))
			}
		})
	})
}

func TestLostSocketsCountAsNoConnections(t *testing.T) {
	byUser := func(limit int) func(*hub.Config) {
		return func(c *hub.Config) {
			c.Namespaces[0].Auth = byToken{}
			c.ConnectionsPerUser = limit
			c.Namespaces[0].ConnectionsPerUser = limit
		}
	}

	t.Run("the old connection does not count", func(t *testing.T) {
		withRecovery(t, byUser(1), func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a := (&visitor{t: t, user: "ann"}).visit(n)
			for range 5 {
				old := a.Conn
				if a.visit(n); !a.recovered {
					t.Fatal("not recovered")
				}
				for old.Next() != "" {
				}
			}
			synctest.Wait()
			b := (&visitor{t: t, user: "bob"}).visit(n)
			b.Close()
			synctest.Wait()
			other := &visitor{t: t, user: "ann"}
			other.Conn = n.WebSocket(wsPath)
			other.Send(`40{"token":"ann"}`)
			if packet := other.Next(); strings.HasPrefix(packet, `40`) {
				t.Errorf("a second connection of ann's came in: %s", packet)
			}
		})
	})

	t.Run("a passing refusal keeps the state", func(t *testing.T) {
		withRecovery(t, byUser(1), func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t, user: "ann"}).visit(n), (&visitor{t: t, user: "bob"}).visit(n)
			a.does("join", "r")
			a.breaks()
			lost := *a
			other := (&visitor{t: t, user: "ann"}).visit(n) // has the one connection now
			b.does("to", "r", "one")
			k.said()
			c := n.WebSocket(wsPath)
			c.Send(fmt.Sprintf(`40{"token":"ann","pid":%q}`, lost.pid))
			if packet := c.Next(); strings.HasPrefix(packet, "40") {
				t.Fatalf("came in: %s", packet)
			}
			other.breaks()
			if got := lost.visit(n).heard(); got != "one" || !lost.recovered {
				t.Errorf("recovered %v, heard %q", lost.recovered, got)
			}
		})
	})

	t.Run("what is sent while it is let in is kept", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			a.does("join", "r")
			for _, breaks := range []bool{true, false} {
				a.breaks()
				k.wait(true)
				lost := *a
				lost.knock(n)
				synctest.Wait()
				b.does("to", "r", "one") // nobody else is in it
				b.does("private", a.id, "two")
				if breaks {
					lost.breaks()
				}
				k.wait(false)
				synctest.Wait()
				if breaks {
					lost.visit(n)
				} else if !lost.take(lost.Next()) || !lost.recovered {
					t.Fatal("not recovered")
				}
				if got := lost.heard(); got != "one,two" {
					t.Errorf("heard %q", got)
				}
				*a = lost
			}
		})
	})

	t.Run("a connection that breaks before it is let in keeps the state", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			a.breaks()
			b.does("all", "one")
			k.wait(true)
			c := n.WebSocket(wsPath)
			c.Send(fmt.Sprintf(`40{"pid":%q}`, a.pid))
			synctest.Wait()
			c.Close()
			synctest.Wait()
			k.wait(false)
			synctest.Wait()
			if got := a.visit(n).heard(); got != "one" || !a.recovered {
				t.Errorf("recovered %v, heard %q", a.recovered, got)
			}
		})
	})
}

func TestRecoveryMemoryIsBounded(t *testing.T) {
	t.Run("what nobody can hear is not kept", func(t *testing.T) {
		var m *budget.Memory
		withRecovery(t, func(c *hub.Config) { m = c.Engine.UsedMemory; c.Engine.Plain = true }, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a := (&visitor{t: t}).visit(n)
			a.does("to", "empty", strings.Repeat("x", 10_000))
			a.does("join", "mine")
			a.does("others-to", "mine", strings.Repeat("x", 10_000))
			a.does("others", strings.Repeat("x", 10_000))
			a.does("private", "s_nobodynobodynobody", strings.Repeat("x", 10_000))
			p := n.Open("/socket.io/", nil)
			p.Next()
			p.Send(`{"event":"join","args":["plain"]}`)
			a.does("to", "plain", strings.Repeat("x", 10_000))
			if held(m) != 0 {
				t.Errorf("%d bytes are kept", held(m))
			}
			a.does("to", "mine", "one")
			b := (&visitor{t: t}).visit(n)
			b.does("join", "theirs")
			b.breaks()
			b.heard()
			before := held(m)
			a.does("to", "theirs", strings.Repeat("x", 10_000))
			if held(m) < before+10_000 {
				t.Error("what a lost socket misses is not kept")
			}
		})
	})

	t.Run("a room that is flooded forgets its own", func(t *testing.T) {
		withRecovery(t, func(c *hub.Config) { c.Recovery.Bytes = 100_000 }, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			c := (&visitor{t: t}).visit(n)
			a.does("join", "quiet")
			b.does("join", "loud")
			c.does("join", "loud")
			c.heard()
			a.breaks()
			c.breaks()
			b.does("to", "quiet", "one")
			for i := range 500 {
				b.does("to", "loud", fmt.Sprint(i, strings.Repeat("x", 1000)))
			}
			b.does("to", "quiet", "two")
			if got := a.visit(n).heard(); got != "one,two" || !a.recovered {
				t.Errorf("recovered %v, heard %q", a.recovered, got)
			}
			if c.visit(n); c.recovered {
				t.Error("recovered though its room forgot")
			}
		})
	})

	t.Run("a client's own sockets give way", func(t *testing.T) {
		var m *budget.Memory
		change := func(c *hub.Config) { m = c.Engine.UsedMemory; c.Namespaces[0].Auth = byToken{} }
		withRecovery(t, change, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			h.Update(hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: k, Auth: byToken{}}},
				Recovery: hub.RecoveryConfig{Window: time.Minute, Bytes: 1_000_000}})
			bob := (&visitor{t: t, user: "bob"}).visit(n)
			bob.breaks()
			var last visitor
			for range 200 {
				eve := (&visitor{t: t, user: "eve"}).visit(n)
				eve.breaks()
				last = *eve
			}
			if held(m) > 500_000/16+3000 {
				t.Errorf("%d bytes are held for bob and eve", held(m))
			}
			if bob.visit(n); !bob.recovered {
				t.Error("another user's sockets drove him out")
			}
			if last.visit(n); !last.recovered {
				t.Error("her last one is not kept")
			}
		})
	})

	t.Run("it is shed before anybody is refused", func(t *testing.T) {
		var m *budget.Memory
		change := func(c *hub.Config) { m = c.Engine.UsedMemory; c.Engine.Memory = 1_000_000 }
		withRecovery(t, change, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			a.breaks()
			for i := range 300 {
				b.does("all", fmt.Sprint(i, strings.Repeat("x", 10_000)))
				b.heard()
				if i%10 == 0 {
					n.WebSocket(wsPath).Close() // fails if it is refused
				}
				if m.Total() > 900_000 {
					t.Fatalf("%d bytes are held", m.Total())
				}
			}
			if a.visit(n); a.recovered {
				t.Error("recovered though events are forgotten")
			}
		})
	})

	t.Run("hubs share what they keep", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := new(budget.Memory)
			var share hub.RecoveryConfig
			share.Window, share.Bytes, share.Budget = time.Minute, 200_000, new(recovery.Budget)
			for range 4 {
				k := &keeper{}
				h := hub.New(hub.Config{Engine: engine.Config{UsedMemory: m}, Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: k}}, Recovery: share})
				defer h.Close()
				n := siotest.Serve(t, h.Engine())
				a := (&visitor{t: t}).visit(n)
				for range 400 {
					a.does("all", strings.Repeat("x", 1000))
					a.heard()
				}
			}
			if held(m) > 420_000 {
				t.Errorf("%d bytes are held by four hubs that share 200,000", held(m))
			}
		})
	})
}

// What a lost socket keeps is what is counted for it: neither what came with
// CONNECT, nor what had not arrived, nor its connection.
func TestLostSocketsAreCounted(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector takes memory of its own")
	}
	auth := `40{"name":"` + strings.Repeat("x", 900_000) + `"}`
	for _, c := range []struct {
		name    string
		connect string
		then    []string
	}{
		{name: "plain", connect: "40"},
		{name: "a large auth", connect: auth},
		{name: "an unfinished packet", connect: "40", then: []string{`452-["all",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, "b" + strings.Repeat("A", 400_000)}},
		{name: "data", connect: "40", then: []string{`42["set","` + strings.Repeat("x", 16_000) + `"]`}},
		{name: "rooms", connect: "40", then: joins(100)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m *budget.Memory
			grown := func(window time.Duration) (heap, counted int) {
				change := func(c *hub.Config) { m, c.Recovery.Window = c.Engine.UsedMemory, window }
				withRecovery(t, change, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
					visits := func(count int) {
						for range count {
							conn := n.WebSocket(wsPath)
							conn.Send(c.connect)
							conn.Next()
							for _, packet := range c.then {
								if attachment, ok := strings.CutPrefix(packet, "b"); ok {
									conn.SendBinary([]byte(attachment))
								} else {
									conn.Send(packet)
								}
							}
							synctest.Wait()
							conn.Close()
							synctest.Wait()
						}
						k.said()
						time.Sleep(10 * time.Second) // closed connections are given up by then
						synctest.Wait()
					}
					visits(20) // fills pools
					heap, counted = heapInUse(), held(m)
					visits(lostClients)
					heap, counted = heapInUse()-heap, held(m)-counted
				})
				return heap, counted
			}
			clients, _ := grown(0) // what the test's own clients take
			heap, counted := grown(time.Minute)
			heap -= clients
			t.Logf("a lost socket takes %d bytes, %d are counted", heap/lostClients, counted/lostClients)
			if counted < lostClients*500 || heap > counted*11/10 || heap < counted*2/3 {
				t.Errorf("%d bytes of heap, %d counted", heap, counted)
			}
		})
	}
}

const lostClients = 100

func joins(n int) (packets []string) {
	for i := range n {
		packets = append(packets, fmt.Sprintf(`42["join","a room of some length %d"]`, i))
	}
	return packets
}

func heapInUse() int {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
