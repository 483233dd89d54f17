package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The kind of a key pins the algorithms (RFC 8725, 3.1): a token never
// chooses. "none" is in no list, and what is public never becomes a secret.
var (
	secretAlgorithms = []string{"HS256", "HS384", "HS512"}
	rsaAlgorithms    = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	publicAlgorithms = append(slices.Clone(rsaAlgorithms), "ES256", "ES384", "ES512", "EdDSA")
)

// RFC 7518, 3.3 sets the least size of RSA keys. Beyond the most, verifying
// takes milliseconds.
const (
	minRSA = 2048 // bits
	maxRSA = 8192
)

// finder is where a Verifier has its keys from.
type finder interface {
	// algorithms are all that any of its keys could be for.
	algorithms() []string
	// find returns what verifies a token with that algorithm, one of
	// algorithms, and key id, "" if it has none: as golang-jwt takes it from
	// a Keyfunc. Errors that match errUnreachable are a passing trouble.
	find(ctx context.Context, algorithm, id string) (any, error)
}

// A key verifies tokens. It is immutable, and the finder of a Verifier that
// has no other.
type key struct {
	material any      // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	allowed  []string // algorithms
}

func (k *key) algorithms() []string { return k.allowed }

// find ignores the key id: there is only one.
func (k *key) find(context.Context, string, string) (any, error) { return k.material, nil }

// newKey returns the key for a secret or a public key.
func newKey(material any) (*key, error) {
	switch k := material.(type) {
	case []byte:
		return &key{k, secretAlgorithms}, nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return nil, fmt.Errorf("an RSA key of %d bits: it needs %d to %d", n, minRSA, maxRSA)
		}
		return &key{k, rsaAlgorithms}, nil
	case *ecdsa.PublicKey:
		algorithm, ok := curveAlgorithms[k.Curve]
		if !ok {
			return nil, errors.New("a curve that tokens are not signed with")
		}
		return &key{k, []string{algorithm}}, nil
	case ed25519.PublicKey:
		return &key{k, []string{"EdDSA"}}, nil
	}
	return nil, fmt.Errorf("a key of type %T, which tokens are not signed with", material)
}

// RFC 7518, 3.4: the algorithm names the curve.
var curveAlgorithms = map[elliptic.Curve]string{
	elliptic.P256(): "ES256",
	elliptic.P384(): "ES384",
	elliptic.P521(): "ES512",
}

// CheckAlgorithms reports the first name that no key is for.
func CheckAlgorithms(names []string) error {
	for _, name := range names {
		if !slices.Contains(secretAlgorithms, name) && !slices.Contains(publicAlgorithms, name) {
			return fmt.Errorf("there is no algorithm %q", name)
		}
	}
	return nil
}

// narrow returns those of the algorithms that are wanted, all if none is
// named. A wanted one that cannot be had is an error.
func narrow(possible, wanted []string) ([]string, error) {
	if len(wanted) == 0 {
		return possible, nil
	}
	if err := CheckAlgorithms(wanted); err != nil {
		return nil, err
	}
	for _, name := range wanted {
		if !slices.Contains(possible, name) {
			return nil, fmt.Errorf("algorithm %s does not fit the key, only %s do", name, strings.Join(possible, ", "))
		}
	}
	return wanted, nil
}

// parsePEM returns the one key in a PEM file: PKIX ("PUBLIC KEY"), PKCS #1
// ("RSA PUBLIC KEY") or the subject's in a certificate. More than one is an
// error: a chain's other keys are the authority's.
func parsePEM(text []byte) (*key, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("more than one PEM block")
	}
	material, err := parseBlock(block)
	if err != nil {
		return nil, err
	}
	return newKey(material)
}

func parseBlock(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("a PEM block of type %q, which is no public key", block.Type)
}
