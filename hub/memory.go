package hub

import (
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
