package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A keyring has a key of each kind, which take their time to make.
type keyring struct {
	rsa              *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
}

var keys = sync.OnceValue(func() keyring { return newKeyring() })

func newKeyring() (k keyring) {
	var errs [5]error
	k.rsa, errs[0] = rsa.GenerateKey(rand.Reader, 2048)
	k.p256, errs[1] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.p384, errs[2] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	k.p521, errs[3] = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, k.ed, errs[4] = ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(errs[:]...); err != nil {
		panic(err)
	}
	return k
}

// signers are the keys by algorithm.
func (k keyring) signers() map[string]any {
	s := map[string]any{"ES256": k.p256, "ES384": k.p384, "ES512": k.p521, "EdDSA": k.ed}
	for _, alg := range rsaAlgorithms {
		s[alg] = k.rsa
	}
	for _, alg := range secretAlgorithms {
		s[alg] = []byte(secret)
	}
	return s
}

const good = `{"sub":"ann","exp":4102444800}`

// pemOf encodes a public key, as the type of block says.
func pemOf(t testing.TB, kind string, public crypto.PublicKey) []byte {
	t.Helper()
	var der []byte
	var err error
	switch kind {
	case "RSA PUBLIC KEY":
		der = x509.MarshalPKCS1PublicKey(public.(*rsa.PublicKey))
	case "CERTIFICATE":
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
		der, err = x509.CreateCertificate(rand.Reader, template, template, public, keys().rsa)
	default:
		der, err = x509.MarshalPKIXPublicKey(public)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Each kind of key takes the tokens of its algorithms, and none of another.
func TestAlgorithmIsPinnedByTheKey(t *testing.T) {
	k := keys()
	for name, tc := range map[string]struct {
		config     Config
		algorithms []string
	}{
		"secret":            {Config{Secret: secret}, secretAlgorithms},
		"secret, narrowed":  {Config{Secret: secret, Algorithms: []string{"HS512"}}, []string{"HS512"}},
		"RSA":               {Config{PublicKey: pemOf(t, "PUBLIC KEY", k.rsa.Public())}, rsaAlgorithms},
		"RSA, PKCS #1":      {Config{PublicKey: pemOf(t, "RSA PUBLIC KEY", k.rsa.Public())}, rsaAlgorithms},
		"RSA, certificate":  {Config{PublicKey: pemOf(t, "CERTIFICATE", k.rsa.Public())}, rsaAlgorithms},
		"RSA, narrowed":     {Config{PublicKey: pemOf(t, "PUBLIC KEY", k.rsa.Public()), Algorithms: []string{"PS256", "RS256"}}, []string{"PS256", "RS256"}},
		"P-256":             {Config{PublicKey: pemOf(t, "PUBLIC KEY", k.p256.Public())}, []string{"ES256"}},
		"P-384":             {Config{PublicKey: pemOf(t, "PUBLIC KEY", k.p384.Public())}, []string{"ES384"}},
		"P-521":             {Config{PublicKey: pemOf(t, "PUBLIC KEY", k.p521.Public())}, []string{"ES512"}},
		"P-256 certificate": {Config{PublicKey: pemOf(t, "CERTIFICATE", k.p256.Public())}, []string{"ES256"}},
		"Ed25519":           {Config{PublicKey: pemOf(t, "PUBLIC KEY", k.ed.Public())}, []string{"EdDSA"}},
		"key set": {Config{KeySet: keySet(t, KeySetConfig{}, &endpoint{body: jwks(t,
			jwk{"rsa", k.rsa}, jwk{"p256", k.p256}, jwk{"p384", k.p384}, jwk{"p521", k.p521}, jwk{"ed", k.ed})})}, publicAlgorithms},
	} {
		t.Run(name, func(t *testing.T) {
			v := verifier(t, tc.config)
			for alg, key := range k.signers() {
				id, err := v.Verify(t.Context(), sign(t, jwt.GetSigningMethod(alg), key, good, nil))
				want := slices.Contains(tc.algorithms, alg)
				if want != (err == nil && idOf(id) == "ann") || !want && !errors.Is(err, ErrInvalidToken) {
					t.Errorf("%s: got %+v, %v", alg, id, err)
				}
			}
		})
	}
}

// A public key is known to everybody: taken for a secret, it would let
// everybody sign.
func TestPublicKeyAsSecret(t *testing.T) {
	text := pemOf(t, "PUBLIC KEY", keys().rsa.Public())
	block, _ := pem.Decode(text)
	for _, v := range []*Verifier{
		verifier(t, Config{PublicKey: text}),
		verifier(t, Config{KeySet: keySet(t, KeySetConfig{}, &endpoint{body: jwks(t, jwk{"", keys().rsa})})}),
	} {
		for _, forged := range [][]byte{text, []byte(strings.TrimSpace(string(text))), block.Bytes, keys().rsa.N.Bytes()} {
			for _, alg := range []string{"HS256", "HS384", "HS512"} {
				refuses(t, v, sign(t, jwt.GetSigningMethod(alg), forged, good, nil))
				refuses(t, v, sign(t, jwt.GetSigningMethod(alg), forged, good, map[string]any{"alg": "RS256"}))
			}
		}
	}
}

// refuses checks that a token is found invalid.
func refuses(t *testing.T, v *Verifier, token string) {
	t.Helper()
	if id, err := v.Verify(t.Context(), token); id != nil || !errors.Is(err, ErrInvalidToken) {
		t.Errorf("got %+v, %v", id, err)
	}
}

func TestForgedTokensAreInvalid(t *testing.T) {
	hs := jwt.SigningMethodHS256
	other := newKeyring()
	for name, token := range map[string]string{
		"other secret":                 sign(t, hs, []byte(strings.Repeat("x", 32)), good, nil),
		"empty secret":                 sign(t, hs, []byte{}, good, nil),
		"none":                         sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good, nil),
		"None":                         sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good, map[string]any{"alg": "None"}),
		"none with a good signature":   sign(t, hs, []byte(secret), good, map[string]any{"alg": "none"}),
		"RS256 signed with the secret": sign(t, hs, []byte(secret), good, map[string]any{"alg": "RS256"}),
		"RS256":                        sign(t, jwt.SigningMethodRS256, other.rsa, good, nil),
		"ES256":                        sign(t, jwt.SigningMethodES256, other.p256, good, nil),
		"unknown alg":                  sign(t, hs, []byte(secret), good, map[string]any{"alg": "HS1"}),
		"alg a number":                 sign(t, hs, []byte(secret), good, map[string]any{"alg": 256}),
		"no alg":                       sign(t, hs, []byte(secret), good, map[string]any{"alg": nil}),
		"jku":                          sign(t, hs, []byte(secret), good, map[string]any{"jku": "https://evil.example"}),
		"x5u":                          sign(t, hs, []byte(secret), good, map[string]any{"x5u": "https://evil.example"}),
		"jwk":                          sign(t, hs, []byte(secret), good, map[string]any{"jwk": map[string]any{}}),
		"crit":                         sign(t, hs, []byte(secret), good, map[string]any{"crit": []string{"b64"}}),
		"kid a number":                 sign(t, hs, []byte(secret), good, map[string]any{"kid": 1}),
		"signature cut":                strings.TrimRight(hs256(t, good), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"),
		"two parts":                    "a.b",
		"garbage":                      "\x00\xff..",
		"huge":                         hs256(t, `{"sub":"ann","exp":4102444800,"x":"`+strings.Repeat("x", 8<<10)+`"}`),
	} {
		t.Run(name, func(t *testing.T) { refuses(t, verifier(t, Config{}), token) })
	}
	if _, err := verifier(t, Config{}).Verify(t.Context(), sign(t, hs, []byte(secret), good, map[string]any{"kid": "1"})); err != nil {
		t.Errorf("with a kid: %v", err)
	}
}

func TestPublicKeyFileMustHoldOnePublicKey(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(keys().p256)
	if err != nil {
		t.Fatal(err)
	}
	two := append(pemOf(t, "PUBLIC KEY", keys().rsa.Public()), pemOf(t, "PUBLIC KEY", keys().p256.Public())...)
	for name, tc := range map[string]struct {
		text []byte
		want string
	}{
		"no PEM":          {[]byte("ssh-rsa AAAA"), "no PEM block"},
		"a private key":   {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), `"PRIVATE KEY"`},
		"two keys":        {two, "more than one"},
		"a small RSA key": {pemOf(t, "PUBLIC KEY", small.Public()), "1024 bits"},
		"P-224":           {pemOf(t, "PUBLIC KEY", p224.Public()), "curve"},
		"broken DER":      {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}}), "asn1"},
		"broken cert":     {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}), "x509"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewVerifier(Config{PublicKey: tc.text}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
