package realtime

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
)

func init() {
	caddy.RegisterModule(Front{})
}

// Front takes the identity that an authentication handler in front of this one
// found (`basic_auth`, or any other that sets `{http.auth.user.id}`) when it
// let the handshake pass. Nothing that a client sends can set it. Without such
// an identity a client is refused with "Authentication error". It ends with
// the connection.
type Front struct {
	// What the rules see of the user beside `id`: with `email`, `user.email` is
	// what the handler in front left in `{http.auth.user.email}`. Default: none.
	Claims []string `json:"claims,omitempty"`

	// Let clients without identity connect as anonymous ones. Default: false.
	Optional bool `json:"optional,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Front) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "realtime.authenticators.caddy",
		New: func() caddy.Module { return new(Front) },
	}
}

// Authenticate implements hub.Authenticator.
func (f *Front) Authenticate(_ context.Context, hs *engine.Handshake, _ []byte) (*auth.Identity, error) {
	user := hs.Info.Identity
	switch {
	case user != "":
	case f.Optional:
		return nil, nil
	default:
		return nil, auth.ErrNoToken
	}
	known, own := keptOf(hs).claims, map[string]json.RawMessage{}
	for _, name := range f.Claims {
		if value, ok := known[name]; ok {
			own[name] = value
		}
	}
	id, err := auth.NewIdentity(user, own)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrInvalidToken, err)
	}
	return id, nil
}

// NeverBlocks implements hub.NonBlocking.
func (f *Front) NeverBlocks() bool { return true }

// wants implements examiner. Browsers repeat passwords and cookies by
// themselves.
func (f *Front) wants() evidence { return evidence{claims: f.Claims, ambient: true} }

// UnmarshalCaddyfile sets up the authenticator from tokens:
//
//	caddy {
//		claims   <name>...
//		optional
//	}
func (f *Front) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return methodBlock(d, f.unmarshalOption)
}

func (f *Front) unmarshalOption(d *caddyfile.Dispenser) error {
	return frontOptions.read("auth caddy", f, d)
}

var frontOptions = options[*Front]{
	"claims":   func(f *Front, d *caddyfile.Dispenser) error { return someArgs(d, &f.Claims) },
	"optional": func(f *Front, d *caddyfile.Dispenser) error { return noArg(d, &f.Optional) },
}

// methodBlock reads the block of an auth method, whose name is the first
// token.
func methodBlock(d *caddyfile.Dispenser, option func(*caddyfile.Dispenser) error) error {
	d.Next() // method
	name := d.Val()
	if d.NextArg() {
		return d.Errf("auth %s: unexpected %q; its options stand in braces, each on a line of its own", name, d.Val())
	}
	given := once{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := given.add(d); err != nil {
			return err
		}
		if err := option(d); err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Front)(nil)
	_ hub.Authenticator     = (*Front)(nil)
	_ hub.NonBlocking       = (*Front)(nil)
	_ examiner              = (*Front)(nil)
)
