package hub_test

import (
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
func TestMemory(t *testing.T) {
	m := new(budget.Memory)
	suspended := make(chan hub.Call, 10)
	p := &script{event: func(c hub.Call) {
		switch c.Name() {
		case "wait":
			c.Suspend(true)
			suspended <- c
		case "ask":
			c.Suspend(false)
			c.Ask("question", args("1"), time.Minute, func(_ parser.Args, r *hub.Refusal) { c.End(r) })
		case "collect":
			c.End(c.Batch(time.Second, hub.Emission{Event: "all", Args: c.Args(), Scope: hub.ToAll}))
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
				if least == 0 && bytes != 0 || name == use.String() && bytes < least {
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
