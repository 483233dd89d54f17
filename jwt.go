package realtime

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
)

func init() {
	caddy.RegisterModule(JWT{})
}

// JWT identifies clients by a JSON Web Token, which they send as `token` in
// socket.io-client's `auth` option, or else as the bearer token of the
// Authorization header. A client without token is refused with
// "Authentication error", one with a bad token with "Invalid token"; why, is
// in the log.
type JWT struct {
	// The key of HS256, HS384 and HS512, at least 32 bytes. Placeholders such
	// as `{env.JWT_SECRET}` and `{file./run/secrets/jwt}` keep it out of the
	// config.
	Secret string `json:"secret,omitempty"`

	// Let clients without a token connect as anonymous ones. A bad token is
	// refused nevertheless. Default: false.
	Optional bool `json:"optional,omitempty"`

	// The claim that is the user's id, a string. Default: sub.
	UserClaim string `json:"user_claim,omitempty"`

	// What the claim `iss` must be. Default: anything.
	Issuer string `json:"issuer,omitempty"`

	// The claim `aud` must contain one of these. Default: anything.
	Audience []string `json:"audience,omitempty"`

	// How far the issuer's clock may be off, for `exp` and `nbf`. Default: 0.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// Take tokens without `exp`, which can never be taken back. Default: false.
	AllowNoExp bool `json:"allow_no_exp,omitempty"`

	verifier *auth.Verifier
}

// CaddyModule returns the Caddy module information.
func (JWT) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "realtime.authenticators.jwt",
		New: func() caddy.Module { return new(JWT) },
	}
}

// Provision resolves the secret's placeholders and checks the settings.
func (j *JWT) Provision(caddy.Context) error {
	secret, err := caddy.NewReplacer().ReplaceOrErr(j.Secret, true, true)
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	j.verifier, err = auth.NewVerifier(auth.Config{
		Secret:     secret,
		Optional:   j.Optional,
		UserClaim:  j.UserClaim,
		Issuer:     j.Issuer,
		Audience:   j.Audience,
		Leeway:     time.Duration(j.Leeway),
		AllowNoExp: j.AllowNoExp,
	})
	return err
}

// Authenticate implements hub.Authenticator.
func (j *JWT) Authenticate(_ context.Context, hs *engine.Handshake, payload []byte) (*auth.Identity, error) {
	cred, _ := hs.Info.Aux.(auth.Credentials)
	return j.verifier.Authenticate(payload, cred)
}

// NeverBlocks implements hub.NonBlocking.
func (j *JWT) NeverBlocks() bool { return j.Secret != "" }

// UnmarshalCaddyfile sets up the authenticator from tokens:
//
//	jwt {
//		secret     <key>
//		optional
//		user_claim <name>
//		issuer     <iss>
//		audience   <aud>...
//		leeway     <duration>
//		allow_no_exp
//	}
func (j *JWT) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // method
	if d.NextArg() {
		return d.ArgErr()
	}
	given := once{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := given.add(d); err != nil {
			return err
		}
		if err := j.unmarshalOption(d); err != nil {
			return err
		}
	}
	if j.Secret == "" {
		return d.Err("auth jwt needs a secret")
	}
	return nil
}

func (j *JWT) unmarshalOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "secret":
		return oneArg(d, &j.Secret)
	case "optional":
		return noArg(d, &j.Optional)
	case "user_claim":
		return oneArg(d, &j.UserClaim)
	case "issuer":
		return oneArg(d, &j.Issuer)
	case "audience":
		return someArgs(d, &j.Audience)
	case "leeway":
		return durationArg(d, &j.Leeway)
	case "allow_no_exp":
		return noArg(d, &j.AllowNoExp)
	default:
		return d.Errf("auth jwt has no option %s", strconv.Quote(d.Val()))
	}
}

// Interface guards
var (
	_ caddy.Provisioner     = (*JWT)(nil)
	_ caddyfile.Unmarshaler = (*JWT)(nil)
	_ hub.Authenticator     = (*JWT)(nil)
	_ hub.NonBlocking       = (*JWT)(nil)
)
