package hub

import (
	"maps"
	"slices"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
)

// What things that clients make many of take beside their texts, in bytes,
// about.
const (
	eventCost    = 400 // an event that waits, or whose rule does
	roomCost     = 250
	memberCost   = 80 // a socket's being in a room
	batchCost    = 300
	changeCost   = 64 // a change that waits to be announced
	audienceCost = 300
	entryCost    = 40 // an id in a list or set of an audience
)

// reclaim gives up that many bytes of what is only kept in case a client asks
// for it: what sockets may find again, and then the oldest answers of dedupe, of
// each namespace as much as it has of all. The caller holds no lock.
func (h *Hub) reclaim(bytes int) {
	if bytes = h.recovery.Shed(bytes); bytes == 0 {
		return
	}
	h.mu.Lock()
	all := slices.Collect(maps.Values(h.namespaces))
	h.mu.Unlock()
	kept, sum := make([]int, len(all)), 0
	for i, n := range all {
		kept[i] = n.deduper.kept()
		sum += kept[i]
	}
	for i, n := range all {
		if kept[i] > 0 {
			n.deduper.shed(int(float64(bytes)*float64(kept[i])/float64(sum)) + 1)
		}
	}
}

// holder counts what one part of the hub keeps for clients, as long as it does:
// see engine.(*Server).Hold. It may be used under any lock.
type holder struct {
	server *engine.Server
	use    budget.Use
}

func (h holder) hold(bytes int) {
	if bytes != 0 {
		h.server.Hold(h.use, bytes)
	}
}
