package realtime

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/hub"
)

func init() {
	caddy.RegisterModule(HTTPUser{})
}

// HTTPUser takes the identity that an authentication handler in front of this one
// found (`basic_auth`, or any other that sets `{http.auth.user.id}`) when it
// let the handshake pass. Nothing that a client sends can set it. Without such
// an identity a client is refused with "Authentication error". It ends with
// the connection.
type HTTPUser struct {
	// What the rules see of the user beside `id`: with `email`, `user.email` is
	// what the handler in front left in `{http.auth.user.email}`. Default: none.
	Claims []string `json:"claims,omitempty"`

	// Let clients without identity connect as anonymous ones. Default: false.
	Optional bool `json:"optional,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (HTTPUser) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "realtime.authenticators.caddy",
		New: func() caddy.Module { return new(HTTPUser) },
	}
}

// Authenticate implements hub.Authenticator.
func (u *HTTPUser) Authenticate(_ context.Context, r *auth.Request, _ []byte) (*auth.Identity, error) {
	switch {
	case r.User != "":
	case u.Optional:
		return nil, nil
	default:
		return nil, auth.ErrNoToken
	}
	own := map[string]json.RawMessage{}
	for _, name := range u.Claims {
		if value, ok := r.Claims[name]; ok {
			own[name] = value
		}
	}
	id, err := auth.NewIdentity(r.User, own)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrInvalidToken, err)
	}
	return id, nil
}

// NeverBlocks implements hub.NonBlocking.
func (u *HTTPUser) NeverBlocks() bool { return true }

// credentials implements credentialUser. Browsers repeat passwords and cookies by
// themselves.
func (u *HTTPUser) credentials() credentialSpec {
	return credentialSpec{user: true, claims: u.Claims, ambient: true}
}

// UnmarshalCaddyfile sets up the authenticator from tokens:
//
//	caddy {
//		claims   <name>...
//		optional
//	}
func (u *HTTPUser) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return methodBlock(d, u.unmarshalOption)
}

func (u *HTTPUser) unmarshalOption(d *caddyfile.Dispenser) error {
	return httpUserOptions.read("auth caddy", u, d)
}

var httpUserOptions = options[*HTTPUser]{
	"claims":   func(u *HTTPUser, d *caddyfile.Dispenser) error { return someArgs(d, &u.Claims) },
	"optional": func(u *HTTPUser, d *caddyfile.Dispenser) error { return noArg(d, &u.Optional) },
}

// methodBlock reads the block of an auth method, whose name is the first
// token.
func methodBlock(d *caddyfile.Dispenser, option func(*caddyfile.Dispenser) error) error {
	d.Next() // method
	name := d.Val()
	if d.NextArg() {
		return d.Errf("auth %s: unexpected %q; its options stand in braces, each on a line of its own", name, d.Val())
	}
	return block(d, option)
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*HTTPUser)(nil)
	_ hub.Authenticator     = (*HTTPUser)(nil)
	_ hub.NonBlocking       = (*HTTPUser)(nil)
	_ credentialUser        = (*HTTPUser)(nil)
)
