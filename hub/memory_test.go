package hub_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/siotest"
	"github.com/caddy-realtime/realtime/parser"
)

// What the hub keeps for clients is counted while it keeps it.
func TestWhatTheHubKeepsIsCounted(t *testing.T) {
	m := new(budget.Memory)
	suspended := make(chan hub.Call, 10)
	p := &script{event: func(c hub.Call) {
		switch c.Event().Name {
		case "wait":
			c.Suspend(true)
			suspended <- c
		case "ask":
			c.Suspend(false)
			c.Do(&hub.Ask{Event: "question", Args: args("1"), Timeout: time.Minute, Then: func(_ parser.Args, r *hub.Refusal) { c.End(r) }})
		case "ask with variables":
			c.Suspend(false)
			c.Keep(5000)
			c.Do(&hub.Ask{Event: "question", Args: args("1"), Timeout: time.Minute, Then: func(_ parser.Args, r *hub.Refusal) { c.End(r) }})
		case "collect":
			c.End(c.Do(&hub.Batch{Window: time.Second, Emission: hub.Emission{Event: "all", Args: c.Event().Args, Scope: hub.ToAll}}))
		default:
			c.End(nil)
		}
	}}
	c := hub.Config{Engine: engine.Config{UsedMemory: m}, Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: p}}}
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		check := func(what string, use budget.Use, least int64) {
			t.Helper()
			synctest.Wait()
			m.Each(func(name string, bytes int64) {
				if least == 0 && bytes != 0 && name != budget.Sockets.String() || name == use.String() && bytes < least {
					t.Errorf("%s: %d bytes held in %s", what, bytes, name)
				}
			})
		}
		large := `"` + strings.Repeat("x", 1000) + `"`

		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`42["wait"]`)
		c.Send(`420["waits behind it",` + large + `]`)
		check("an event that waits", budget.Waiting, 1000)
		(<-suspended).End(nil)
		c.Expect("430[]")
		check("an event that waited", budget.Waiting, 0)

		c.Send(`42["collect",` + large + `]`)
		check("a batch", budget.Batches, 1000)
		c.Expect(`42["all",[` + large + `]]`)
		check("a batch that went out", budget.Batches, 0)

		c.Send(`42["ask",` + large + `]`)
		c.Expect(`420["question",1]`)
		check("a question", budget.Waiting, 1000)
		c.Send("430[]")
		check("an answer", budget.Waiting, 0)
		c.Send(`42["ask with variables"]`)
		c.Expect(`421["question",1]`)
		check("a question of a rule with variables", budget.Waiting, 5000)
		c.Send("431[]")
		check("an answer to it", budget.Waiting, 0)
		c.Send(`42["ask",` + large + `]`)
		c.Next()
		c.Send("41") // it leaves without an answer
		check("nobody to answer", budget.Waiting, 0)

		c.Join("/", "")
		c.Send(`452-["binary",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
		c.SendBinary([]byte(large))
		check("half a packet", budget.Input, 1000)
		c.SendBinary([]byte(large))
		check("a packet", budget.Input, 0)
		c.Send(`452-["binary",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
		c.SendBinary([]byte(large))
		c.Close()
		check("a client that left amid a packet", budget.Input, 0)
	})
}

// hoarding is a policy in which clients have the hub keep something of each
// kind.
func hoarding(suspended chan hub.Call) *script {
	return &script{event: func(c hub.Call) {
		var r *hub.Refusal
		switch c.Event().Name {
		case "join":
			r = c.Do(&hub.Join{Rooms: room(strings.Split(strings.Trim(string(c.Event().Args.JSON), `"`), ",")...)})
		case "set":
			r = c.Do(&hub.Set{Key: "k", Value: c.Event().Args.JSON})
		case "once":
			r = c.Do(&hub.Once{Key: "key", TTL: time.Minute, Run: func() { c.Do(&hub.Ack{Args: c.Event().Args}); c.End(nil) }})
			if r == nil {
				return
			}
		case "first": // and those with its key wait
			r = c.Do(&hub.Once{Key: "waits", TTL: time.Minute, Run: func() { c.Suspend(false); suspended <- c }})
			if r == nil {
				return
			}
		case "typing":
			r = c.Do(&hub.Typing{Room: hub.Address{Name: "r1"}, Payload: c.Event().Args})
		case "appear":
			r = c.Do(&hub.Appear{User: strings.Trim(string(c.Event().Args.JSON), `"`)})
		case "collect":
			r = c.Do(&hub.Batch{Window: time.Second, Emission: hub.Emission{Event: "all", Args: c.Event().Args, Scope: hub.ToAll}})
		case "wait":
			c.Suspend(true)
			suspended <- c
			return
		case "ask":
			c.Suspend(false)
			c.Do(&hub.Ask{Event: "question", Args: args("1"), Timeout: time.Minute, Then: func(_ parser.Args, r *hub.Refusal) { c.End(r) }})
			return
		}
		c.End(r)
	}}
}

// What clients have the hub keep is counted by its use, and taken off again
// when they have left, whatever ended: they, their namespace or the hub.
func TestMemoryIsReleased(t *testing.T) {
	for name, end := range map[string]func(h *hub.Hub, c hub.Config, clients []*siotest.Conn){
		"the clients leave": func(_ *hub.Hub, _ hub.Config, clients []*siotest.Conn) {
			for _, c := range clients {
				c.Close()
			}
		},
		"the namespaces go": func(h *hub.Hub, c hub.Config, clients []*siotest.Conn) {
			c.Namespaces = nil
			h.Update(c)
			for _, c := range clients {
				c.Close()
			}
		},
		"presence is turned off": func(h *hub.Hub, c hub.Config, clients []*siotest.Conn) {
			c.Namespaces = slices.Clone(c.Namespaces)
			for i := range c.Namespaces {
				c.Namespaces[i].Presence = hub.PresenceConfig{}
			}
			h.Update(c)
			for _, c := range clients {
				c.Close()
			}
		},
		"the hub closes": func(h *hub.Hub, _ hub.Config, _ []*siotest.Conn) { h.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			m, suspended := new(budget.Memory), make(chan hub.Call, 1000)
			p := hoarding(suspended)
			presence := hub.PresenceConfig{Announce: hub.AnnounceList, Grace: 5 * time.Second, Rooms: func(string) bool { return true }}
			config := hub.Config{Engine: engine.Config{UsedMemory: m}, Namespaces: []hub.NamespaceConfig{
				{Name: "/", Policy: p, Presence: presence},
				{Pattern: regexp.MustCompile("/r[0-9]"), Policy: p, Presence: presence},
			}}
			serveConfig(t, config, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
				large := `"` + strings.Repeat("x", 1000) + `"`
				var clients []*siotest.Conn
				for i := range 6 {
					c := n.WebSocket(wsPath)
					for _, namespace := range []string{"", "/r1,"} {
						c.Send("40" + namespace + `{"auth":` + large + `}`)
						for _, event := range []string{
							`"join","r1,r2,r3"`, `"appear","user` + strconv.Itoa(i%4) + `"`, `"set",` + large, `"once",` + large, `"once",` + large,
							`"first",` + large, `"first",` + large, `"typing",{"x":1}`, `"collect",` + large, `"ask",` + large, `"wait",` + large, `"behind it",` + large,
						} {
							c.Send("42" + namespace + "[" + event + "]")
						}
					}
					clients = append(clients, c)
				}
				synctest.Wait()
				least := map[budget.Use]int64{
					budget.Waiting: 30_000, budget.Batches: 10_000, budget.Sockets: 30_000, budget.Dedupe: 15_000, budget.Presence: 3_000, budget.Announcements: 1_000,
				}
				m.Each(func(name string, bytes int64) {
					for use, least := range least {
						if use.String() == name && bytes < least {
							t.Errorf("%d bytes held in %s", bytes, name)
						}
					}
				})
				time.Sleep(200 * time.Millisecond) // while something is told
				end(h, config, clients)
				for len(suspended) > 0 {
					(<-suspended).End(nil)
					synctest.Wait()
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				m.Each(func(name string, bytes int64) {
					if bytes != 0 {
						t.Errorf("%d bytes held in %s in the end", bytes, name)
					}
				})
			})
		})
	}
}
