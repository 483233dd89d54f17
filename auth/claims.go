package auth

import (
	"encoding/json"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// claims are a token's claims as the issuer wrote them, with those that have
// a meaning in RFC 7519 decoded. They implement jwt.Claims, because the
// library's own types match names in any letter case and round numbers.
type claims struct {
	all      map[string]json.RawMessage
	exp, nbf *jwt.NumericDate
	iss      string
	aud      jwt.ClaimStrings
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *claims) UnmarshalJSON(raw []byte) error {
	if err := json.Unmarshal(raw, &c.all); err != nil {
		return err
	}
	if c.all == nil {
		return fmt.Errorf("claims are null")
	}
	for name, dst := range map[string]any{
		"exp": &c.exp, "nbf": &c.nbf, "iss": &c.iss, "aud": &c.aud,
	} {
		if value, ok := c.all[name]; ok {
			if err := json.Unmarshal(value, dst); err != nil {
				return fmt.Errorf("claim %s: %w", name, err)
			}
		}
	}
	return nil
}

// The rest is jwt.Claims. Nobody asks for iat and sub: Verifier checks neither.

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.exp, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.nbf, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.iss, nil }
func (c *claims) GetSubject() (string, error)                  { return "", nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return c.aud, nil }
