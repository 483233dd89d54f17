package hub_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

// TestEachSendersEventsArriveOnceInOrder checks exactly what the hub promises: what one socket sends
// reaches each that stays in the room once and in order, while others join,
// leave, are kicked and vanish, and policies are replaced.
func TestEachSendersEventsArriveOnceInOrder(t *testing.T) {
	const senders, receivers, churners, messages = 4, 8, 4, 150
	event := func(c hub.Call) {
		switch c.Event().Name {
		case "join":
			c.End(c.Do(&hub.Join{Rooms: room("a")}))
		case "leave":
			c.End(c.Do(&hub.Leave{Rooms: room("a")}))
		case "kick":
			c.Do(&hub.Disconnect{})
			c.End(nil)
		default:
			c.End(c.Do(&hub.Emission{Event: "m", Args: c.Event().Args, Scope: hub.ToRooms, To: room("a")}))
		}
	}
	conf := func() hub.Config {
		return hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{event: event}}}}
	}
	h := hub.New(conf())
	t.Cleanup(h.Close)
	n := siotest.Serve(t, http.HandlerFunc(h.Engine().ServeHTTP))

	member := func() *siotest.Conn {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`420["join"]`)
		c.Expect(`430[]`)
		return c
	}
	var all []*siotest.Conn
	for range receivers {
		all = append(all, member())
	}
	var from []*siotest.Conn
	for range senders {
		c := n.WebSocket(wsPath) // not in the room: hears nothing
		c.Join("/", "")
		from = append(from, c)
	}

	var sending, churning sync.WaitGroup
	stop := make(chan struct{})
	for i := range churners {
		churning.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
				}
				c := n.WebSocket(wsPath)
				c.Join("/", "")
				c.Send(`42["join"]`)
				c.Send([]string{`42["leave"]`, `42["kick"]`, `41`, `40`}[(i+round)%4])
				c.Close()
				h.Update(conf())
			}
		})
	}
	for i, c := range from {
		sending.Go(func() {
			for j := range messages {
				c.Send(fmt.Sprintf(`42["say",%d,%d]`, i, j))
			}
		})
	}
	for _, c := range all {
		var next [senders]int
		for range senders * messages {
			var i, j int
			m := c.Next()
			if _, err := fmt.Sscanf(m, `42["m",%d,%d]`, &i, &j); err != nil {
				t.Fatalf("unexpected message %q", m)
			}
			if j != next[i] {
				t.Fatalf("from sender %d: got %d, want %d", i, j, next[i])
			}
			next[i]++
		}
	}
	sending.Wait()
	close(stop)
	churning.Wait()
	for _, c := range all {
		c.Quiet()
	}
}
