package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

// keeper is a policy whose events do what their names say, and which notes who
// comes and goes.
type keeper struct {
	mu      sync.Mutex
	log     []string
	refuse  bool
	banned  string // a room that is not found again
	forbids bool   // no room is

	farewell string   // what is said when a socket has gone
	waits    bool     // connect calls wait
	waiting  hub.Call // the last that does
}

// wait has connect calls wait, or go on.
func (k *keeper) wait(yes bool) {
	k.mu.Lock()
	c := k.waiting
	k.waits, k.waiting = yes, nil
	k.mu.Unlock()
	if c != nil {
		c.End(nil)
	}
}

func (k *keeper) note(what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.log = append(k.log, what)
}

func (k *keeper) Connect(c hub.Call) {
	k.note(fmt.Sprintf("connect %v %s in %q", c.Event().Socket.Recovered(), c.Event().Socket.Data(), c.Event().Socket.Rooms()[1:]))
	k.mu.Lock()
	if k.waits {
		k.waiting = c
		c.Suspend(true)
		k.mu.Unlock()
		return
	}
	k.mu.Unlock()
	if k.refuse {
		c.End(&hub.Refusal{Code: hub.Forbidden, Message: "Banned"})
		return
	}
	c.End(nil)
}

func (k *keeper) Disconnect(c hub.Call) {
	k.note("disconnect " + c.Event().Reason)
	if k.farewell != "" {
		c.Do(&hub.Emission{Event: "news", Args: args(`"` + k.farewell + `"`), Scope: hub.ToAll})
	}
	c.End(nil)
}

func (k *keeper) AllowsRoom(_ hub.Call, room string) bool { return room != k.banned && !k.forbids }

func (k *keeper) Event(c hub.Call) {
	var list []string
	if err := json.Unmarshal([]byte("["+string(c.Event().Args.JSON)+"]"), &list); err != nil {
		c.End(&hub.Refusal{Code: hub.Invalid, Message: err.Error()})
		return
	}
	var r *hub.Refusal
	switch c.Event().Name {
	case "join":
		r = c.Do(&hub.Join{Rooms: []hub.Address{{Name: list[0]}}, Chosen: true})
	case "assign": // by the server
		r = c.Do(&hub.Join{Rooms: []hub.Address{{Name: list[0]}}})
	case "rate":
		if c.Do(&hub.Take{Bucket: "rate", Every: time.Hour, Burst: 1}) != nil {
			r = &hub.Refusal{Code: hub.RateLimited, Message: "Too often"}
		}
	case "leave":
		r = c.Do(&hub.Leave{Rooms: []hub.Address{{Name: list[0]}}})
	case "set":
		r = c.Do(&hub.Set{Key: "name", Value: []byte(`"` + list[0] + `"`)})
	case "all": // text
		r = c.Do(&hub.Emission{Event: "news", Args: args(`"` + list[0] + `"`), Scope: hub.ToAll})
	case "others":
		r = c.Do(&hub.Emission{Event: "news", Args: args(`"` + list[0] + `"`), Scope: hub.ToAll, NotSelf: true})
	case "hint":
		r = c.Do(&hub.Emission{Event: "hint", Scope: hub.ToAll, Volatile: true})
	case "to": // room, text
		r = c.Do(&hub.Emission{Event: "news", Args: args(`"` + list[1] + `"`), Scope: hub.ToRooms, To: []hub.Address{{Name: list[0]}}})
	case "others-to":
		r = c.Do(&hub.Emission{Event: "news", Args: args(`"` + list[1] + `"`), Scope: hub.ToRooms, To: []hub.Address{{Name: list[0]}}, NotSelf: true})
	case "private": // socket id, text
		r = c.Do(&hub.Emission{Event: "news", Args: args(`"` + list[1] + `"`), Scope: hub.ToRooms, To: []hub.Address{{Kind: hub.SocketRoom, Name: list[0]}}})
	case "except": // room, text
		r = c.Do(&hub.Emission{Event: "news", Args: args(`"` + list[1] + `"`), Scope: hub.ToAll, Except: []hub.Address{{Name: list[0]}}})
	}
	c.End(r)
}

// said lists what was noted since the last call.
func (k *keeper) said() []string {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	log := k.log
	k.log = nil
	return log
}

// visitor is a client that remembers what stock clients do.
type visitor struct {
	*siotest.Conn
	t               *testing.T
	user            string
	ns              string // its namespace and a comma; "": the main one
	id, pid, offset string
	news            []string // the first arguments of what came, with offsets
	recovered       bool
	refusal         string
}

// visit connects, as the socket that v was.
func (v *visitor) visit(n *siotest.Network) *visitor {
	v.t.Helper()
	v.knock(n)
	v.news, v.refusal, v.recovered = nil, "", false
	for !v.take(v.Next()) {
	}
	return v
}

// knock sends the CONNECT of visit.
func (v *visitor) knock(n *siotest.Network) {
	v.t.Helper()
	v.Conn = n.WebSocket(wsPath)
	claim := map[string]string{"token": v.user}
	if v.pid != "" {
		claim["pid"] = v.pid
	}
	if v.offset != "" {
		claim["offset"] = v.offset
	}
	payload, err := json.Marshal(claim)
	if err != nil {
		v.t.Fatal(err)
	}
	v.Send("40" + v.ns + string(payload))
}

// take notes a packet; true if it answers CONNECT.
func (v *visitor) take(packet string) bool {
	v.t.Helper()
	packet = packet[:2] + strings.TrimPrefix(packet[2:], v.ns)
	switch {
	case strings.HasPrefix(packet, "44"):
		v.refusal = packet
		return true
	case strings.HasPrefix(packet, "40"):
		var hello struct{ SID, PID string }
		if err := json.Unmarshal([]byte(packet[2:]), &hello); err != nil {
			v.t.Fatal(err)
		}
		v.recovered = hello.PID == v.pid && v.pid != ""
		if v.recovered != (hello.SID == v.id) {
			v.t.Errorf("was %s and %s, is %+v", v.id, v.pid, hello)
		}
		v.id, v.pid = hello.SID, hello.PID
		return true
	case strings.HasPrefix(packet, "42"):
		var event []string
		if err := json.Unmarshal([]byte(packet[2:]), &event); err != nil {
			v.t.Fatalf("%v: %s", err, packet)
		}
		v.offset = event[len(event)-1]
		v.news = append(v.news, strings.Join(event[1:len(event)-1], " "))
	default:
		v.t.Fatalf("got %q", packet)
	}
	return false
}

// heard is what came, by now.
func (v *visitor) heard() string {
	v.t.Helper()
	synctest.Wait()
	for _, packet := range v.Heard() {
		v.take(packet)
	}
	news := strings.Join(v.news, ",")
	v.news = nil
	return news
}

// breaks ends the connection, as networks do.
func (v *visitor) breaks() {
	v.Close()
	synctest.Wait()
}

// as sends an event and waits until it is done.
func (v *visitor) does(event string, texts ...string) {
	v.t.Helper()
	packet, err := json.Marshal(append([]string{event}, texts...))
	if err != nil {
		v.t.Fatal(err)
	}
	v.Send("42" + v.ns + string(packet))
	synctest.Wait()
}

func withRecovery(t *testing.T, change func(*hub.Config), f func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network)) {
	t.Helper()
	k := &keeper{}
	m := new(budget.Memory)
	c := hub.Config{
		Engine:     engine.Config{UsedMemory: m},
		Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: k}},
		Recovery:   hub.RecoveryConfig{Window: time.Minute},
	}
	if change != nil {
		change(&c)
	}
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		f(t, k, h, n)
		synctest.Wait()
		time.Sleep(time.Hour) // whatever was kept is forgotten
		synctest.Wait()
		m.Each(func(use string, bytes int64) {
			if use == budget.Recovery.String() && bytes != 0 {
				t.Errorf("%d bytes are held for ever", bytes)
			}
		})
	})
}

func TestRecoveredSocketHasItsStateAndWhatItMissed(t *testing.T) {
	check := func(t *testing.T, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	lists := func(t *testing.T, got []string, want ...string) {
		t.Helper()
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}

	t.Run("state and what was missed", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			b.does("to", "r", "before the join")
			a.does("join", "r")
			a.does("set", "ann")
			b.does("to", "r", "one")
			check(t, a.heard(), "one")
			id := a.id
			a.breaks()
			k.said()
			b.does("to", "r", "two")
			b.does("all", "three")
			b.does("private", id, "four")
			b.does("except", "r", "no")
			b.does("to", "s", "no")
			b.does("hint")
			a.visit(n)
			check(t, a.heard(), "two,three,four")
			if !a.recovered || a.id != id {
				t.Errorf("recovered %v as %s, was %s", a.recovered, a.id, id)
			}
			lists(t, k.said(), `connect true {"name":"ann"} in ["r"]`)
			b.does("to", "r", "five")
			check(t, a.heard(), "five")
			a.breaks()
			a.visit(n) // again, by what came since
			b.does("to", "r", "six")
			check(t, a.heard(), "six")
			if h.Stats().Recoveries["recovered"] != 2 {
				t.Errorf("counted %v", h.Stats().Recoveries)
			}
		})
	})

	t.Run("nothing heard yet", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			b := (&visitor{t: t}).visit(n)
			b.does("all", "before")
			a := (&visitor{t: t}).visit(n)
			a.breaks()
			b.does("all", "one")
			check(t, a.visit(n).heard(), "one")
		})
	})

	t.Run("nothing from before CONNECT, whatever the offset", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			b := (&visitor{t: t}).visit(n)
			b.does("all", "secret")
			a := (&visitor{t: t}).visit(n)
			a.does("join", "r")
			b.does("all", "one")
			b.does("to", "r", "two")
			a.does("leave", "r")
			b.does("to", "r", "after it left")
			a.does("join", "q")
			check(t, a.heard(), "one,two")
			incarnation := a.offset[:8]
			for _, offset := range []string{"0", "1"} {
				a.breaks()
				a.offset = incarnation + offset
				check(t, a.visit(n).heard(), "one,two")
			}
			for _, offset := range []string{"1", incarnation, incarnation + "zzzz", incarnation + "-1", incarnation + "no number", incarnation + strings.Repeat("z", 20), strings.Repeat("z", 1000), "another01"} {
				a.breaks()
				a.offset = offset
				if a.visit(n); a.recovered {
					t.Errorf("recovered with the offset %q", offset)
				}
			}
		})
	})

	t.Run("quiet while others speak for long", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			a.does("join", "r")
			b.does("to", "r", "long ago")
			check(t, a.heard(), "long ago")
			for range 10 {
				time.Sleep(time.Minute)
				b.does("to", "s", "other things")
			}
			a.breaks()
			time.Sleep(50 * time.Second)
			b.does("to", "r", "one")
			if check(t, a.visit(n).heard(), "one"); !a.recovered {
				t.Error("not recovered, though it missed nothing that is forgotten")
			}
		})
	})

	t.Run("own broadcasts", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a := (&visitor{t: t}).visit(n)
			a.does("all", "one")
			check(t, a.heard(), "one")
			a.Send(`42["others","two"]`)
			a.breaks()
			check(t, a.visit(n).heard(), "")
			if !a.recovered {
				t.Error("not recovered")
			}
		})
	})

	t.Run("disconnect comes when the window is over", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a := (&visitor{t: t}).visit(n)
			a.breaks()
			k.said()
			time.Sleep(59 * time.Second)
			lists(t, k.said())
			time.Sleep(10 * time.Second)
			lists(t, k.said(), "disconnect transport close")
			if a.visit(n); a.recovered {
				t.Error("recovered after its time")
			}
			a.Send("41")
			synctest.Wait()
			k.said()
			if a.visit(n); a.recovered {
				t.Error("recovered after it left")
			}
		})
	})

	t.Run("refused", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			a.breaks()
			b.does("all", "secret")
			k.said()
			k.refuse = true
			check(t, a.visit(n).heard(), "")
			check(t, a.refusal, `44{"message":"Banned"}`)
			lists(t, k.said(), `connect true {} in []`, "disconnect transport close")
			k.refuse = false
			if a.visit(n); a.recovered {
				t.Error("a pid served twice")
			}
		})
	})

	t.Run("a room that is not allowed any more", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			a.does("join", "r")
			a.does("join", "q")
			a.breaks()
			b.does("to", "r", "secret")
			b.does("to", "q", "one")
			k.banned = "r"
			check(t, a.visit(n).heard(), "one")
			b.does("to", "r", "secret")
			b.does("to", "q", "two")
			check(t, a.heard(), "two")
		})
	})

	t.Run("a room that the server chose is no matter of allow_rooms", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			a.does("assign", "r")
			a.does("join", "q")
			a.does("assign", "q") // its own choice first, then the server's, too
			a.does("assign", "p")
			a.does("join", "p")
			a.breaks()
			for _, room := range []string{"r", "q", "p"} {
				b.does("to", room, room)
			}
			k.forbids = true
			check(t, a.visit(n).heard(), "r,q,p")
			k.forbids = false
			a.breaks()
			b.does("to", "r", "again")
			k.forbids = true
			check(t, a.visit(n).heard(), "again")
		})
	})

	t.Run("what rate has taken is remembered", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a := (&visitor{t: t}).visit(n)
			for range 2 {
				a.does("rate")
				a.breaks()
				a.visit(n)
			}
			a.Send(`421["rate"]`)
			a.Expect(`431[{"error":"Too often","code":"RATE_LIMITED"}]`)
		})
	})

	t.Run("another user", func(t *testing.T) {
		withRecovery(t, func(c *hub.Config) { c.Namespaces[0].Auth = byToken{} }, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a := (&visitor{t: t, user: "ann"}).visit(n)
			a.breaks()
			thief := *a
			thief.user = "bob"
			if thief.visit(n); thief.recovered {
				t.Error("another user took it up")
			}
			if a.visit(n); !a.recovered {
				t.Error("its own user did not get it any more")
			}
			if got := h.Stats().Recoveries; got["refused"] != 1 || got["recovered"] != 1 {
				t.Errorf("counted %v", got)
			}
		})
	})

	t.Run("the old connection is still there", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a := (&visitor{t: t}).visit(n)
			a.does("join", "r")
			old := a.Conn
			k.said()
			if a.visit(n); !a.recovered {
				t.Error("not recovered")
			}
			lists(t, k.said(), `connect true {} in ["r"]`)
			for old.Next() != "" {
			}
		})
	})

	t.Run("twice at once", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a := (&visitor{t: t}).visit(n)
			a.breaks()
			id, b := a.id, (&visitor{t: t}).visit(n)
			var all [5]visitor
			var wg sync.WaitGroup
			for i := range all {
				all[i] = *a
				wg.Go(func() { all[i].visit(n) })
			}
			wg.Wait()
			b.does("private", id, "one")
			heard := 0
			for i := range all {
				if all[i].heard() == "one" {
					heard++
				}
			}
			if heard != 1 {
				t.Errorf("%d are the socket", heard)
			}
		})
	})

	t.Run("too much", func(t *testing.T) {
		few := func(c *hub.Config) { c.Recovery.Bytes = 10_000 }
		withRecovery(t, few, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			a.breaks()
			for i := range 100 {
				b.does("all", fmt.Sprint(i))
			}
			if a.visit(n); a.recovered {
				t.Error("recovered without what was forgotten")
			}
			check(t, a.heard(), "")
			if h.Stats().Recoveries["gap"] != 1 {
				t.Errorf("counted %v", h.Stats().Recoveries)
			}
		})
	})

	t.Run("a namespace keeps its share", func(t *testing.T) {
		both := func(c *hub.Config) {
			c.Recovery.Bytes = 20_000
			c.Namespaces = append(c.Namespaces, hub.NamespaceConfig{Name: "/b", Policy: c.Namespaces[0].Policy})
		}
		withRecovery(t, both, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			loud := (&visitor{t: t}).visit(n)
			a, b := (&visitor{t: t, ns: "/b,"}).visit(n), (&visitor{t: t, ns: "/b,"}).visit(n)
			for i := range 200 {
				loud.does("all", fmt.Sprint(i))
			}
			a.breaks()
			b.does("all", "one")
			b.does("all", "two")
			for i := range 200 {
				loud.does("all", fmt.Sprint(i))
			}
			check(t, a.visit(n).heard(), "one,two")
		})
	})

	t.Run("a reload", func(t *testing.T) {
		withRecovery(t, nil, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			spec := []hub.NamespaceConfig{{Name: "/", Policy: k}}
			a, b := (&visitor{t: t}).visit(n), (&visitor{t: t}).visit(n)
			a.breaks()
			b.does("all", "one")
			h.Update(hub.Config{Namespaces: spec, Recovery: hub.RecoveryConfig{Window: 2 * time.Minute}})
			check(t, a.visit(n).heard(), "one")
			a.breaks()
			k.said()
			h.Update(hub.Config{Namespaces: spec}) // off
			time.Sleep(time.Minute)
			lists(t, k.said(), "disconnect transport close")
			c := n.WebSocket(wsPath)
			c.Join("/", "")
			c.Send(`42["all","plain"]`)
			c.Expect(`42["news","plain"]`)
		})
	})

	t.Run("plain WebSockets", func(t *testing.T) {
		withRecovery(t, func(c *hub.Config) { c.Engine.Plain = true }, func(t *testing.T, k *keeper, h *hub.Hub, n *siotest.Network) {
			c := n.Open("/socket.io/", nil)
			c.Next()
			c.Send(`{"event":"all","args":["one"]}`)
			c.Expect(`{"event":"news","args":["one"]}`)
		})
	})
}

// byToken takes the token for the user.
type byToken struct{}

func (byToken) Authenticate(_ context.Context, _ *auth.Request, payload []byte) (*auth.Identity, error) {
	var claim struct{ Token string }
	if err := json.Unmarshal(payload, &claim); err != nil {
		return nil, err
	}
	return auth.NewIdentity(claim.Token, nil)
}

func (byToken) NeverBlocks() bool { return true }
