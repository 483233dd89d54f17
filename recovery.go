package realtime

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/realtime/hub"
)

// Recovery is Socket.IO's connection state recovery: a client whose connection
// broke and who is back in time is the same socket again, with what it missed.
// Every event has one more argument then, its offset.
type Recovery struct {
	// How long after the loss of its connection a client may come back: 1s to
	// 24h. Until then `on disconnect` waits.
	Window caddy.Duration `json:"window,omitempty"`

	// How many bytes of events are kept for that, and half of that for sockets;
	// the oldest events are forgotten first. Default: 64000000, but at most a
	// quarter of the limit `memory`.
	Memory int `json:"memory,omitempty"`
}

const (
	minRecovery, maxRecovery = time.Second, 24 * time.Hour
	minRecoveryMemory        = 1_000_000
	recoveryMemory           = 64_000_000
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

// config is for a hub whose clients may make the process hold ceiling bytes; 0:
// any.
func (r *Recovery) config(ceiling int) hub.RecoveryConfig {
	if r == nil {
		return hub.RecoveryConfig{}
	}
	c := hub.RecoveryConfig{Window: time.Duration(r.Window), Bytes: r.Memory}
	if c.Bytes == 0 && ceiling > 0 {
		c.Bytes = min(recoveryMemory, ceiling/4)
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
