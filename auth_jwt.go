package realtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
)

func init() {
	caddy.RegisterModule(JWT{})
}

// JWT identifies clients by a JSON Web Token, which they send as `token` in
// socket.io-client's `auth` option, or else as the bearer token of the
// Authorization header, or where `from` says. A client without token is refused
// with "Authentication error", one with a bad token with "Invalid token"; why,
// is in the log.
//
// Exactly one of `secret`, `public_key` and `jwks` says what tokens are signed
// with. The kind of key decides which algorithms a token may name.
type JWT struct {
	// The key of HS256, HS384 and HS512, at least 32 bytes. Placeholders such
	// as `{env.JWT_SECRET}` and `{file./run/secrets/jwt}` keep it out of the
	// config.
	Secret string `json:"secret,omitempty"`

	// A PEM file with one public key ("PUBLIC KEY" or "RSA PUBLIC KEY") or
	// certificate. An RSA key, of 2048 to 8192 bits, is for RS256, RS384,
	// RS512, PS256, PS384 and PS512; one on P-256 for ES256, on P-384 for
	// ES384, on P-521 for ES512; Ed25519 for EdDSA. It is read when the config
	// loads.
	PublicKey string `json:"public_key,omitempty"`

	// The https URL of a JSON Web Key Set (http only on the loopback), at most
	// 64 keys in 256 KB. It is fetched at once, from time to time, and when a
	// token names a key that is not in it, but for that at most once in 30s.
	// While it cannot be fetched, the keys that are known stay good, and
	// clients whose key is not known are told to try again.
	JWKS string `json:"jwks,omitempty"`

	// The time between two fetches of the key set, at least 30s: so long a key
	// that was taken out of it may still be good. Default: 1h.
	Refresh caddy.Duration `json:"jwks_refresh,omitempty"`

	// The only algorithms that tokens may be signed with, of those that fit
	// the key. Default: all of them.
	Algorithms []string `json:"algorithms,omitempty"`

	// Where a token may be; the first place that has one decides. `auth.token`
	// is what comes with CONNECT, `header.Authorization` a bearer token,
	// `query.<name>` and `cookie.<name>` what they say, and `protocol` the
	// WebSocket subprotocol `bearer.<token>`, offered together with
	// `realtime.v1` or a name of the app's own, which is selected. With a cookie,
	// `origins` must not be `*`. Default: auth.token, header.Authorization.
	From []string `json:"from,omitempty"`

	// Let clients without a token connect as anonymous ones. A bad token is
	// refused nevertheless. Default: false.
	Optional bool `json:"optional,omitempty"`

	// The claims that may be the user's id; the first that a token has decides. It
	// is a non-empty string, or an integer, which becomes its decimal text.
	// Default: sub, id.
	UserClaims []string `json:"user_claim,omitempty"`

	// What the claim `iss` must be. Default: anything.
	Issuer string `json:"issuer,omitempty"`

	// The claim `aud` must contain one of these. Default: anything.
	Audience []string `json:"audience,omitempty"`

	// How far the issuer's clock may be off, for `exp` and `nbf`. Default: 0.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// Take tokens without `exp`, which can never be taken back. Default: false.
	AllowNoExp bool `json:"allow_no_exp,omitempty"`

	// What happens to a socket whose token expires: `disconnect`, or `keep`
	// for leaving it connected. Default: disconnect.
	OnExpiry string `json:"on_expiry,omitempty"`

	sources  []auth.Source
	verifier *auth.Verifier
	keySet   keySetID // in the pool; the zero value if none

	log     *slog.Logger
	since   time.Time
	notices *budget.Notices // of genuine tokens that are refused; their times count from since
}

// CaddyModule returns the Caddy module information.
func (JWT) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "realtime.authenticators.jwt",
		New: func() caddy.Module { return new(JWT) },
	}
}

// Provision resolves the placeholders and checks the settings. It does not
// wait for a key set: its issuer may be a site of the same config.
func (j *JWT) Provision(ctx caddy.Context) error {
	j.log, j.since, j.notices = ctx.Slogger(), time.Now(), new(budget.Notices)
	if err := j.check(); err != nil {
		return err
	}
	c := auth.Config{
		Algorithms:  j.Algorithms,
		From:        j.sources,
		Optional:    j.Optional,
		UserClaims:  j.UserClaims,
		Issuer:      j.Issuer,
		Audience:    j.Audience,
		Leeway:      time.Duration(j.Leeway),
		AllowNoExp:  j.AllowNoExp,
		KeepExpired: j.OnExpiry == "keep",
	}
	err := j.loadKeys(&c)
	if err != nil {
		return err
	}
	j.verifier, err = auth.NewVerifier(c)
	return err
}

// check finds what is wrong with the settings as they are written, and parses
// the sources.
func (j *JWT) check() error {
	given := slices.DeleteFunc([]string{j.Secret, j.PublicKey, j.JWKS}, func(s string) bool { return s == "" })
	switch {
	case len(given) != 1:
		return errors.New("auth jwt needs exactly one of secret, public_key and jwks")
	case j.Refresh != 0 && j.JWKS == "":
		return errors.New("auth jwt: jwks_refresh is set without jwks")
	}
	return cmp.Or(j.checkAlgorithms(), j.checkExpiry(), j.parseSources())
}

func (j *JWT) checkAlgorithms() error {
	if err := auth.CheckAlgorithms(j.Algorithms); err != nil {
		return fmt.Errorf("algorithms: %w", err)
	}
	return nil
}

func (j *JWT) checkExpiry() error {
	switch j.OnExpiry {
	case "", "disconnect", "keep":
		return nil
	}
	return fmt.Errorf("on_expiry: unknown value %q; use disconnect or keep", j.OnExpiry)
}

func (j *JWT) parseSources() error {
	j.sources = auth.DefaultSources()
	if len(j.From) > 0 {
		j.sources = nil
	}
	for _, text := range j.From {
		s, err := auth.ParseSource(text)
		if err != nil {
			return fmt.Errorf("from: %w", err)
		}
		j.sources = append(j.sources, s)
	}
	return nil
}

// loadKeys reads what tokens are signed with into c.
func (j *JWT) loadKeys(c *auth.Config) error {
	repl := caddy.NewReplacer()
	for _, option := range []struct {
		name, value string
		load        func(value string) error
	}{
		{"secret", j.Secret, func(v string) error { c.Secret = v; return nil }},
		{"public_key", j.PublicKey, func(v string) (err error) { c.PublicKey, err = os.ReadFile(v); return err }},
		{"jwks", j.JWKS, func(v string) (err error) { c.KeySet, err = j.acquireKeySet(v); return err }},
	} {
		if option.value == "" {
			continue
		}
		value, err := repl.ReplaceOrErr(option.value, true, true)
		if err == nil {
			err = option.load(value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", option.name, err)
		}
	}
	return nil
}

// Authenticate implements hub.Authenticator.
func (j *JWT) Authenticate(ctx context.Context, r *auth.Request, payload []byte) (*auth.Identity, error) {
	id, err := j.verifier.Authenticate(ctx, payload, r.Tokens)
	j.warnOf(err)
	return id, err
}

// warnOf says, once an hour for each cause, how to make genuine tokens good that
// are refused. Only their issuer can cause the warning.
func (j *JWT) warnOf(err error) {
	remedy, cause := "", ""
	switch {
	case err == nil:
		return
	case errors.Is(err, auth.ErrNoExpiry):
		cause, remedy = "exp", "without the claim exp: set one where tokens are signed, such as exp: now + 3600 s, or write allow_no_exp in auth jwt, which takes tokens that are good for ever"
	case errors.Is(err, auth.ErrNoUser):
		cause, remedy = "user", "without a user's id: set the claim sub where tokens are signed, or name another claim with user_claim in auth jwt"
	default:
		return
	}
	if j.notices.Due(cause, time.Since(j.since)) {
		j.log.Warn("refused a token "+remedy, "error", err)
	}
}

// credentials implements credentialUser.
func (j *JWT) credentials() credentialSpec {
	return credentialSpec{sources: j.sources, ambient: slices.ContainsFunc(j.sources, auth.Source.Ambient)}
}

// NeverBlocks implements hub.NonBlocking: a key that is here is not asked for.
func (j *JWT) NeverBlocks() bool { return j.JWKS == "" }

// UnmarshalCaddyfile sets up the authenticator from tokens:
//
//	jwt {
//		secret     <key>
//		public_key <file>
//		jwks       <url> [<refresh>]
//		algorithms <name>...
//		from       auth.token|header.Authorization|query.<name>|cookie.<name>|protocol...
//		optional
//		user_claim <name>...
//		issuer     <iss>
//		audience   <aud>...
//		leeway     <duration>
//		allow_no_exp
//		on_expiry  disconnect|keep
//	}
func (j *JWT) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := methodBlock(d, j.unmarshalOption); err != nil {
		return err
	}
	if err := j.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (j *JWT) unmarshalOption(d *caddyfile.Dispenser) error {
	return jwtOptions.read("auth jwt", j, d)
}

var jwtOptions = options[*JWT]{
	"secret":     func(j *JWT, d *caddyfile.Dispenser) error { return replacedArg(d, &j.Secret) },
	"public_key": func(j *JWT, d *caddyfile.Dispenser) error { return replacedArg(d, &j.PublicKey) },
	"jwks":       (*JWT).unmarshalJWKS,
	"algorithms": func(j *JWT, d *caddyfile.Dispenser) error {
		return checked(d, someArgs(d, &j.Algorithms), j.checkAlgorithms)
	},
	"from":         func(j *JWT, d *caddyfile.Dispenser) error { return checked(d, someArgs(d, &j.From), j.parseSources) },
	"optional":     func(j *JWT, d *caddyfile.Dispenser) error { return noArg(d, &j.Optional) },
	"user_claim":   func(j *JWT, d *caddyfile.Dispenser) error { return someArgs(d, &j.UserClaims) },
	"issuer":       func(j *JWT, d *caddyfile.Dispenser) error { return oneArg(d, &j.Issuer) },
	"audience":     func(j *JWT, d *caddyfile.Dispenser) error { return someArgs(d, &j.Audience) },
	"leeway":       func(j *JWT, d *caddyfile.Dispenser) error { return durationArg(d, &j.Leeway) },
	"allow_no_exp": func(j *JWT, d *caddyfile.Dispenser) error { return noArg(d, &j.AllowNoExp) },
	"on_expiry":    func(j *JWT, d *caddyfile.Dispenser) error { return checked(d, oneArg(d, &j.OnExpiry), j.checkExpiry) },
}

func (j *JWT) unmarshalJWKS(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Err("jwks takes a URL, optionally followed by the time between two fetches, such as 1h")
	}
	j.JWKS = args[0]
	var err error
	if !strings.Contains(j.JWKS, "{") { // a placeholder
		err = auth.CheckURL(j.JWKS)
	}
	if err == nil && len(args) == 2 {
		j.Refresh, err = duration(args[1])
	}
	if err != nil {
		return d.Errf("jwks: %w", err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*JWT)(nil)
	_ caddy.CleanerUpper    = (*JWT)(nil)
	_ caddyfile.Unmarshaler = (*JWT)(nil)
	_ hub.Authenticator     = (*JWT)(nil)
	_ hub.NonBlocking       = (*JWT)(nil)
	_ credentialUser        = (*JWT)(nil)
)
