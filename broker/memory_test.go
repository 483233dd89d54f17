package broker_test

import (
	"testing"

	"github.com/caddy-realtime/realtime/broker"
	"github.com/caddy-realtime/realtime/broker/brokertest"
)

func TestMemoryIsABroker(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) (nodes [3]broker.Broker) {
		bus := broker.NewMemory()
		for i := range nodes {
			nodes[i] = bus.Node()
			t.Cleanup(func() { nodes[i].Close() })
		}
		return nodes
	})
}
