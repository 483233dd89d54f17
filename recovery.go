package realtime

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/recovery"
)

// Recovery is Socket.IO's connection state recovery: a client whose connection
// broke and who is back in time is the same socket again, with what it missed.
// Every event has one more argument then, its offset.
type Recovery struct {
	// How long after the loss of its connection a client may come back: 1s to
	// 24h. Until then `on disconnect` waits.
	Window caddy.Duration `json:"window,omitempty"`

	// The bytes of events that all hubs of the process together keep for that, and
	// half of that for sockets, a sixteenth of it for one user or address. Beyond,
	// the oldest events of the rooms that have most are forgotten. At most the
	// limit `memory`. Default: 64000000, but at most a quarter of `memory`.
	Memory int `json:"memory,omitempty"`
}

// processRecovery is what all hubs keep for it together.
var processRecovery recovery.Budget

const (
	minRecovery, maxRecovery = time.Second, 24 * time.Hour
	minRecoveryMemory        = 1_000_000
)

// check takes nil for no recovery.
func (r *Recovery) check() error {
	switch {
	case r == nil:
	case time.Duration(r.Window) < minRecovery || time.Duration(r.Window) > maxRecovery:
		return errors.New("recovery: the window must be between 1s and 24h")
	case r.Memory != 0 && r.Memory < minRecoveryMemory:
		return errors.New("recovery: the memory must be at least 1MB")
	}
	return nil
}

// fits checks the memory against the ceiling for all that clients make the
// process hold; 0: none.
func (r *Recovery) fits(ceiling int) error {
	if r != nil && ceiling > 0 && r.Memory > ceiling {
		return fmt.Errorf("recovery: %d bytes of memory are more than the limit memory of %d allows all clients together: lower the one, or raise the other", r.Memory, ceiling)
	}
	return nil
}

// config is for a hub whose clients may make the process hold ceiling bytes; 0:
// any.
func (r *Recovery) config(ceiling int) hub.RecoveryConfig {
	if r == nil {
		return hub.RecoveryConfig{Budget: &processRecovery}
	}
	c := hub.RecoveryConfig{Window: time.Duration(r.Window), Bytes: r.Memory, Budget: &processRecovery}
	if c.Bytes == 0 && ceiling > 0 {
		c.Bytes = min(hub.DefaultRecoveryBytes, ceiling/4)
	}
	return c
}

// unmarshalRecovery reads off | <duration> [<memory>].
func (h *Handler) unmarshalRecovery(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case len(args) == 0 || len(args) > 2:
		return d.Errf("recovery takes off, or a duration such as 2m, optionally followed by a size")
	case len(args) == 1 && args[0] == "off":
		return nil
	}
	r := new(Recovery)
	var err error
	if r.Window, err = duration(args[0]); err != nil {
		return d.Errf("recovery takes off or a duration: %w", err)
	}
	if len(args) == 2 {
		if r.Memory, err = size(args[1]); err != nil {
			return d.Errf("recovery: %w", err)
		}
	}
	h.Recovery = r
	return checked(d, nil, r.check)
}
