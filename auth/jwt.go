package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
)

const (
	minSecret  = 32       // bytes; RFC 7518, 3.2 asks for the hash's size, and HS256 is what people use
	maxToken   = 8 << 10  // bytes; Caddy's own header limit is 16 KB
	maxPayload = 64 << 10 // bytes of the object that a token is looked for in
	maxUserID  = 128      // bytes
)

// Config says which tokens a Verifier takes.
type Config struct {
	Secret     string        // key of HS256, HS384 and HS512; at least 32 bytes
	Optional   bool          // no token means anonymous instead of ErrNoToken
	UserClaim  string        // the claim that is the user's id; default "sub"
	Issuer     string        // what iss must be; "": anything
	Audience   []string      // one of which aud must contain; none: anything
	Leeway     time.Duration // tolerance for exp and nbf; default 0
	AllowNoExp bool          // take tokens that never expire
}

// A Verifier checks JSON Web Tokens. It is immutable and safe for concurrent
// use, and never blocks.
type Verifier struct {
	key       []byte
	optional  bool
	userClaim string
	leeway    time.Duration
	parser    *jwt.Parser
}

// NewVerifier returns a Verifier, or an error that says what is wrong with c.
func NewVerifier(c Config) (*Verifier, error) {
	if len(c.Secret) < minSecret {
		return nil, fmt.Errorf("the secret has %d bytes, it needs at least %d", len(c.Secret), minSecret)
	}
	if c.Leeway < 0 {
		return nil, errors.New("leeway is negative")
	}
	if c.UserClaim == "" {
		c.UserClaim = "sub"
	}
	return &Verifier{
		key:       []byte(c.Secret),
		optional:  c.Optional,
		userClaim: c.UserClaim,
		leeway:    c.Leeway,
		parser:    jwt.NewParser(options(c)...),
	}, nil
}

func options(c Config) []jwt.ParserOption {
	// The kind of key pins the algorithms: with a secret, a public key can
	// never be taken for one, and "none" is not in the list.
	opts := []jwt.ParserOption{
		jwt.WithValidMethods([]string{"HS256", "HS384", "HS512"}),
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

// Authenticate looks for a token in payload, a JSON object or nil, under the
// key "token", then in cred, and verifies the first that it finds. The
// Identity is nil if there is none and none is needed. Errors match ErrNoToken
// or ErrInvalidToken; the rest of their text is for logs only and contains
// nothing of the token but its algorithm.
func (v *Verifier) Authenticate(payload []byte, cred Credentials) (*Identity, error) {
	token, err := payloadToken(payload)
	if err != nil {
		return nil, invalid(err)
	}
	if token == "" {
		token = cred.Bearer
	}
	if token != "" {
		return v.Verify(token)
	}
	if v.optional {
		return nil, nil
	}
	return nil, ErrNoToken
}

// Verify checks one token. Errors match ErrInvalidToken.
func (v *Verifier) Verify(token string) (*Identity, error) {
	if len(token) > maxToken {
		return nil, invalid(fmt.Errorf("more than %d bytes", maxToken))
	}
	c := &claims{}
	if _, err := v.parser.ParseWithClaims(token, c, v.keyFor); err != nil {
		return nil, invalid(err)
	}
	id, err := v.userID(c)
	if err != nil {
		return nil, invalid(err)
	}
	object, err := c.withID(id)
	if err != nil {
		return nil, invalid(err)
	}
	return &Identity{ID: id, Claims: object, Expires: v.expires(c)}, nil
}

// keyFor returns the key for a token whose algorithm was found allowed. A
// token that wants to bring its own key, or extensions that we must
// understand, is refused.
func (v *Verifier) keyFor(t *jwt.Token) (any, error) {
	for _, name := range []string{"jku", "x5u", "jwk", "crit"} {
		if _, ok := t.Header[name]; ok {
			return nil, fmt.Errorf("header %s is not allowed", name)
		}
	}
	return v.key, nil
}

func (v *Verifier) userID(c *claims) (string, error) {
	id, err := text(c.all[v.userClaim])
	switch {
	case err != nil:
		return "", fmt.Errorf("claim %s: %w", v.userClaim, err)
	case id == "":
		return "", fmt.Errorf("claim %s is missing or empty", v.userClaim)
	case len(id) > maxUserID:
		return "", fmt.Errorf("claim %s has more than %d bytes", v.userClaim, maxUserID)
	case strings.ContainsFunc(id, unicode.IsControl):
		return "", fmt.Errorf("claim %s contains control characters", v.userClaim)
	}
	return id, nil
}

func (v *Verifier) expires(c *claims) time.Time {
	if c.exp == nil {
		return time.Time{}
	}
	return c.exp.Add(v.leeway)
}

// payloadToken returns the string under "token" in a JSON object; "" if there
// is none.
func payloadToken(payload []byte) (string, error) {
	if len(payload) == 0 {
		return "", nil
	}
	if len(payload) > maxPayload {
		return "", fmt.Errorf("more than %d bytes around the token", maxPayload)
	}
	// A map, because a struct's fields would match in any letter case.
	var object map[string]json.RawMessage
	if err := json.Unmarshal(payload, &object); err != nil {
		return "", fmt.Errorf("decoding the auth payload: %w", err)
	}
	return text(object["token"])
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
