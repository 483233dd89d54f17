package auth

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// What a CONNECT costs: one token, from text to identity.
func BenchmarkVerify(b *testing.B) {
	for _, bench := range []struct {
		alg    string
		config Config
	}{
		{"HS256", Config{Secret: secret}},
		{"RS256", Config{PublicKey: pemOf(b, "PUBLIC KEY", keys().rsa.Public())}},
		{"ES256", Config{PublicKey: pemOf(b, "PUBLIC KEY", keys().p256.Public())}},
		{"EdDSA", Config{PublicKey: pemOf(b, "PUBLIC KEY", keys().ed.Public())}},
	} {
		b.Run(bench.alg, func(b *testing.B) {
			v, err := NewVerifier(bench.config)
			if err != nil {
				b.Fatal(err)
			}
			token := sign(b, jwt.GetSigningMethod(bench.alg), keys().signers()[bench.alg],
				`{"sub":"ann","iss":"https://login.example.com","aud":"chat","iat":1700000000,"exp":4102444800}`, nil)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
