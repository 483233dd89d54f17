package auth

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Sign returns a token with the claims, a JSON object, signed with HS256. It
// is for development: a real issuer knows its users. A secret that a Verifier
// would not take is an error.
func Sign(secret string, claims []byte) (string, error) {
	if err := checkSecret(secret); err != nil {
		return "", err
	}
	var all jwt.MapClaims
	d := json.NewDecoder(bytes.NewReader(claims))
	d.UseNumber() // numbers stay as they were written
	if err := d.Decode(&all); err != nil {
		return "", fmt.Errorf("decoding the claims: %w", err)
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString([]byte(secret))
}

func checkSecret(secret string) error {
	if len(secret) < minSecret {
		return fmt.Errorf("the secret has %d bytes, it needs at least %d", len(secret), minSecret)
	}
	return nil
}
