package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

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
	for name, decode := range map[string]func(json.RawMessage) error{
		"exp": func(v json.RawMessage) (err error) { c.exp, err = numericDate(v); return err },
		"nbf": func(v json.RawMessage) (err error) { c.nbf, err = numericDate(v); return err },
		"iss": func(v json.RawMessage) error { return json.Unmarshal(v, &c.iss) },
		"aud": func(v json.RawMessage) error { return json.Unmarshal(v, &c.aud) },
	} {
		if value, ok := c.all[name]; ok {
			if err := decode(value); err != nil {
				return fmt.Errorf("claim %s: %w", name, err)
			}
		}
	}
	return nil
}

// farFuture and farPast bound the dates that a time.Time can be trusted with.
var (
	farFuture = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	farPast   = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
)

// numericDate decodes a NumericDate (RFC 7519, section 2): a JSON number of
// seconds since 1970. A date after the year 9999 counts as its end, one before
// the year 1 as its beginning.
func numericDate(value json.RawMessage) (*jwt.NumericDate, error) {
	if !isNumber(value) {
		return nil, errors.New("not a number")
	}
	seconds, err := strconv.ParseFloat(string(value), 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange): // beyond the range it is infinite
		return nil, errors.New("not a number")
	case seconds >= float64(farFuture.Unix()):
		return &jwt.NumericDate{Time: farFuture}, nil
	case seconds <= float64(farPast.Unix()):
		return &jwt.NumericDate{Time: farPast}, nil
	}
	whole, fraction := math.Modf(seconds)
	return &jwt.NumericDate{Time: time.Unix(int64(whole), int64(fraction*1e9))}, nil
}

// isNumber reports whether a JSON value is a number.
func isNumber(value json.RawMessage) bool {
	return len(value) > 0 && (value[0] == '-' || value[0] >= '0' && value[0] <= '9')
}

// user is the value of the first of the claims names that the token has, null
// not counting: a string as it is, an integer as its decimal text.
func (c *claims) user(names []string) (string, error) {
	for _, name := range names {
		value := c.all[name]
		if len(value) == 0 || string(value) == "null" {
			continue
		}
		id, err := userID(value)
		if err != nil {
			return "", fmt.Errorf("claim %s: %w", name, err)
		}
		return id, nil
	}
	return "", fmt.Errorf("%w: no claim %s", ErrNoUser, strings.Join(names, " or "))
}

// IdentityOf is the identity of a token with these claims, a JSON object, where
// userClaims are those of Config; nil: the default.
func IdentityOf(object []byte, userClaims []string) (*Identity, error) {
	c := new(claims)
	if err := json.Unmarshal(object, c); err != nil {
		return nil, fmt.Errorf("decoding the claims: %w", err)
	}
	if len(userClaims) == 0 {
		userClaims = defaultUserClaims
	}
	id, err := c.user(userClaims)
	if err != nil {
		return nil, err
	}
	return NewIdentity(id, c.all)
}

func userID(value json.RawMessage) (string, error) {
	switch {
	case value[0] == '"':
		var id string
		err := json.Unmarshal(value, &id)
		return id, err
	case string(value) == "-0":
		return "0", nil
	case isNumber(value) && !bytes.ContainsAny(value, ".eE"):
		return string(value), nil
	}
	return "", errors.New("neither a string nor an integer")
}

// The rest is jwt.Claims. Nobody asks for iat and sub: Verifier checks neither.

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.exp, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.nbf, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.iss, nil }
func (c *claims) GetSubject() (string, error)                  { return "", nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return c.aud, nil }
