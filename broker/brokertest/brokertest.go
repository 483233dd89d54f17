// Package brokertest is what every Broker must pass.
package brokertest

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/broker"
)

// Run tests brokers. connect returns three nodes that are connected with each
// other and with nobody else.
func Run(t *testing.T, connect func(t *testing.T) [3]broker.Broker) {
	t.Run("others get it", func(t *testing.T) {
		nodes, got := subscribed(t, connect)
		m := &broker.Message{
			Namespace: "/chat", Event: "e", JSON: []byte(`1,{"a":[true]},{"_placeholder":true,"num":0}`), Bin: [][]byte{{0, 1, 0xff}},
			Rooms: []string{"a", "user:ann"}, Except: []string{"b"}, Volatile: true,
		}
		publish(t, nodes[0], m)
		for i := 1; i < 3; i++ {
			if g := next(t, got[i]); !reflect.DeepEqual(g, m) {
				t.Errorf("node %d got %+v", i, g)
			}
		}
		// What the second publishes next is the first that the first gets.
		publish(t, nodes[1], &broker.Message{Event: "later", All: true})
		if g := next(t, got[0]); g.Event != "later" {
			t.Errorf("the publisher got its own message: %+v", g)
		}
	})
	t.Run("order", func(t *testing.T) {
		nodes, got := subscribed(t, connect)
		const messages = 300
		var publishing sync.WaitGroup
		for i := range 2 {
			publishing.Go(func() {
				for j := range messages {
					publish(t, nodes[i], &broker.Message{Namespace: fmt.Sprint(i), Event: fmt.Sprint(j), All: true})
				}
			})
		}
		seen := map[string]int{}
		for range 2 * messages {
			m := next(t, got[2])
			if m.Event != fmt.Sprint(seen[m.Namespace]) {
				t.Fatalf("from node %s: got %s, want %d", m.Namespace, m.Event, seen[m.Namespace])
			}
			seen[m.Namespace]++
		}
		publishing.Wait()
	})
	t.Run("a node that does not take its messages blocks nobody", func(t *testing.T) {
		nodes := connect(t)
		release := make(chan struct{})
		defer close(release)
		nodes[1].Subscribe(func(*broker.Message) { <-release })
		got := make(chan *broker.Message, 1<<16)
		nodes[2].Subscribe(func(m *broker.Message) { got <- m })
		for range 5000 {
			// An error says that the slow one misses it.
			_ = nodes[0].Publish(&broker.Message{Event: "flood", All: true})
		}
		next(t, got)
	})
	t.Run("nothing after Close", func(t *testing.T) {
		nodes, got := subscribed(t, connect)
		if err := nodes[1].Close(); err != nil {
			t.Fatal(err)
		}
		publish(t, nodes[0], &broker.Message{Event: "e", All: true})
		next(t, got[2])
		if len(got[1]) > 0 {
			t.Error("a closed node got a message")
		}
		if nodes[1].Publish(&broker.Message{Event: "e", All: true}) == nil {
			t.Error("a closed node could publish")
		}
	})
}

func subscribed(t *testing.T, connect func(t *testing.T) [3]broker.Broker) (nodes [3]broker.Broker, got [3]chan *broker.Message) {
	nodes = connect(t)
	for i, n := range nodes {
		got[i] = make(chan *broker.Message, 1<<12)
		n.Subscribe(func(m *broker.Message) { got[i] <- m })
	}
	return nodes, got
}

func publish(t *testing.T, b broker.Broker, m *broker.Message) {
	t.Helper()
	if err := b.Publish(m); err != nil {
		t.Errorf("publishing: %v", err)
	}
}

func next(t *testing.T, got chan *broker.Message) *broker.Message {
	t.Helper()
	select {
	case m := <-got:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("no message")
		return nil
	}
}
