package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	minSecret  = 32       // bytes; RFC 7518, 3.2 asks for the hash's size, and HS256 is what people use
	maxToken   = 8 << 10  // bytes
	maxPayload = 64 << 10 // bytes of the object that a token is looked for in
)

// Config says which tokens a Verifier takes.
type Config struct {
	// Exactly one of these says what tokens are signed with.
	Secret    string  // key of HS256, HS384 and HS512; at least 32 bytes
	PublicKey []byte  // one public key or certificate in PEM
	KeySet    *KeySet // an endpoint's public keys; not closed by the Verifier

	Algorithms  []string      // of those that fit the keys; none: all that do
	From        []Source      // where a token may be, in this order; none: DefaultSources
	Optional    bool          // no token means anonymous instead of ErrNoToken
	UserClaims  []string      // of these, the first that a token has is the user's id, a string or an integer; default: sub, id
	Issuer      string        // what iss must be; "": anything
	Audience    []string      // one of which aud must contain; none: anything
	Leeway      time.Duration // tolerance for exp and nbf; default 0
	AllowNoExp  bool          // take tokens that never expire
	KeepExpired bool          // what Identity.KeepExpired will be
}

// A Verifier checks JSON Web Tokens. It is immutable and safe for concurrent
// use.
type Verifier struct {
	keys       finder
	from       []Source
	optional   bool
	userClaims []string
	leeway     time.Duration
	noExp      bool // AllowNoExp
	keep       bool // KeepExpired
	parser     *jwt.Parser
}

var defaultUserClaims = []string{"sub", "id"}

// NewVerifier returns a Verifier, or an error that says what is wrong with c.
func NewVerifier(c Config) (*Verifier, error) {
	if c.Leeway < 0 {
		return nil, errors.New("leeway is negative")
	}
	keys, err := c.keys()
	if err != nil {
		return nil, err
	}
	algorithms, err := narrow(keys.algorithms(), c.Algorithms)
	if err != nil {
		return nil, err
	}
	if len(c.UserClaims) == 0 {
		c.UserClaims = defaultUserClaims
	}
	if len(c.From) == 0 {
		c.From = DefaultSources()
	}
	return &Verifier{
		keys:       keys,
		from:       c.From,
		optional:   c.Optional,
		userClaims: c.UserClaims,
		leeway:     c.Leeway,
		keep:       c.KeepExpired,
		noExp:      c.AllowNoExp,
		parser:     jwt.NewParser(c.options(algorithms)...),
	}, nil
}

// keys is what the tokens are signed with. Only one kind may be given: each
// more would be a further way in.
func (c Config) keys() (finder, error) {
	given := 0
	for _, is := range []bool{c.Secret != "", c.PublicKey != nil, c.KeySet != nil} {
		if is {
			given++
		}
	}
	switch {
	case given == 0:
		return nil, errors.New("one of a secret, a public key and a key set is needed")
	case given > 1:
		return nil, errors.New("a secret, a public key and a key set exclude each other")
	case c.KeySet != nil:
		return c.KeySet, nil
	case c.PublicKey != nil:
		k, err := parsePEM(c.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("public key: %w", err)
		}
		return k, nil
	}
	if err := checkSecret(c.Secret); err != nil {
		return nil, err
	}
	return newKey([]byte(c.Secret))
}

func (c Config) options(algorithms []string) []jwt.ParserOption {
	opts := []jwt.ParserOption{
		jwt.WithValidMethods(algorithms),
		jwt.WithLeeway(c.Leeway),
		jwt.WithStrictDecoding(),
	}
	if !c.AllowNoExp {
		opts = append(opts, jwt.WithExpirationRequired())
	}
	if c.Issuer != "" {
		opts = append(opts, jwt.WithIssuer(c.Issuer))
	}
	if len(c.Audience) > 0 {
		opts = append(opts, jwt.WithAudience(c.Audience...))
	}
	return opts
}

// Authenticate looks for a token where the Verifier's sources say, in payload,
// a JSON object or nil, and in cred, and verifies the first that it finds. The
// Identity is nil if there is none and none is needed. Errors are those of
// Verify, or match ErrNoToken.
func (v *Verifier) Authenticate(ctx context.Context, payload []byte, cred Credentials) (*Identity, error) {
	for _, source := range v.from {
		token, err := source.token(payload, cred)
		if err != nil {
			return nil, invalid(err)
		}
		if token != "" {
			return v.Verify(ctx, token)
		}
	}
	if v.optional {
		return nil, nil
	}
	return nil, ErrNoToken
}

// Verify checks one token. Errors match ErrInvalidToken, except where its key
// could not be asked for: that is a passing trouble. The rest of their text is
// for logs only and contains nothing of the token but its algorithm. It blocks
// only for a key set's endpoint, 5 s at most, and not beyond ctx.
func (v *Verifier) Verify(ctx context.Context, token string) (*Identity, error) {
	if len(token) > maxToken {
		return nil, invalid(fmt.Errorf("more than %d bytes", maxToken))
	}
	if strings.ContainsFunc(token, foreign) {
		return nil, invalid(errors.New("a character that no token has"))
	}
	c := &claims{}
	_, err := v.parser.ParseWithClaims(token, c, func(t *jwt.Token) (any, error) { return v.keyFor(ctx, t) })
	switch {
	case errors.Is(err, errUnreachable):
		return nil, err
	case errors.Is(err, jwt.ErrTokenInvalidClaims) && c.exp == nil && !v.noExp: // the signature has passed
		return nil, invalid(fmt.Errorf("%w: %w", ErrNoExpiry, err))
	case err != nil:
		return nil, invalid(err)
	}
	id, err := v.identity(c)
	if err != nil {
		return nil, invalid(err)
	}
	return id, nil
}

// keyFor returns the keys for a token whose algorithm was found allowed. A
// token that wants to bring its own key, or extensions that we must
// understand, is refused.
func (v *Verifier) keyFor(ctx context.Context, t *jwt.Token) (any, error) {
	for _, name := range []string{"jku", "x5u", "jwk", "crit"} {
		if _, ok := t.Header[name]; ok {
			return nil, fmt.Errorf("header %s is not allowed", name)
		}
	}
	id, ok := t.Header["kid"].(string)
	if !ok && t.Header["kid"] != nil {
		return nil, errors.New("header kid is not a string")
	}
	return v.keys.find(ctx, t.Method.Alg(), id)
}

func (v *Verifier) identity(c *claims) (*Identity, error) {
	user, err := c.user(v.userClaims)
	if err != nil {
		return nil, err
	}
	id, err := NewIdentity(user, c.all)
	if err != nil {
		return nil, err
	}
	if c.exp != nil {
		id.Expires = c.exp.Add(v.leeway)
	}
	id.KeepExpired = v.keep
	return id, nil
}

// foreign reports whether a character is neither of base64url nor a dot. The
// decoder of the library skips line breaks.
func foreign(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
		return false
	}
	return true
}

// text decodes a JSON string; nothing and null are "".
func text(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	if raw[0] != '"' {
		return "", errors.New("not a string")
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

func invalid(err error) error {
	return fmt.Errorf("%w: %w", ErrInvalidToken, err)
}
