package hub

import (
	"slices"
	"strings"

	"github.com/caddy-realtime/realtime/broker"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

// maxRemoteDepth is the nesting of arguments that come from another node.
const maxRemoteDepth = 64

// publish hands e, which was delivered here, to the other nodes if it may have
// targets there.
func (h *Hub) publish(namespace string, from *Socket, e *Emission) {
	if h.broker == nil || e.Scope == ToSelf || e.Scope == ToRooms && len(e.To) == 0 {
		return
	}
	args := e.Args.Clone()
	m := &broker.Message{
		Namespace: namespace, Event: strings.Clone(e.Event), JSON: args.JSON, Bin: args.Bin,
		All: e.Scope == ToAll, Rooms: wireNames(e.To), Except: wireNames(e.Except), Volatile: e.Volatile,
	}
	if e.NotSelf {
		m.Except = append(m.Except, from.id)
	}
	if err := h.broker.Publish(m); err != nil {
		h.counts.unpublished.Add(1)
		h.log().Debug("publishing to other nodes", "namespace", namespace, "error", err)
	}
}

func wireNames(list []Address) []string {
	var names []string
	for _, a := range list {
		names = append(names, strings.Clone(a.WireName()))
	}
	return names
}

// fromWire is the address that a name from another node stands for.
func fromWire(name string) Address {
	if id, ok := strings.CutPrefix(name, userPrefix); ok {
		return Address{UserRoom, id}
	}
	if reserved(name) {
		return Address{SocketRoom, name}
	}
	return Address{Room, name}
}

func addresses(names []string) []Address {
	var list []Address
	for _, name := range names {
		list = append(list, fromWire(name))
	}
	return list
}

// receive delivers what another node published to the sockets of this one.
func (h *Hub) receive(m *broker.Message) {
	h.guard("broker", nil, func() {
		if !h.deliver(m) {
			h.counts.undelivered.Add(1)
		}
	})
}

// deliver is false if m is malformed: clients would drop their connections.
func (h *Hub) deliver(m *broker.Message) bool {
	if m.Event == "" || parser.IsReserved(m.Event) || reservedEvent([]byte(m.Event)) {
		return false
	}
	if _, err := rawjson.CheckArray(slices.Concat([]byte{'['}, m.JSON, []byte{']'}), maxRemoteDepth); err != nil {
		return false
	}
	var args parser.Builder
	args.AddRaw(m.JSON, m.Bin)
	a, err := args.Args()
	if err != nil {
		return false
	}
	e := Emission{Event: m.Event, Args: a, Scope: ToRooms, To: addresses(m.Rooms), Except: addresses(m.Except), Volatile: m.Volatile}
	if m.All {
		e.Scope = ToAll
	}
	if n := h.lookup(m.Namespace); n != nil {
		b := engine.NewBatch()
		defer b.Flush()
		n.sendLocal(b, nil, &e)
	}
	return true
}

func (h *Hub) lookup(name string) *Namespace {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.namespaces[name]
}
