// Package auth turns tokens into identities: which keys sign them (a secret,
// a public key, the key set of an endpoint) and where in a request they may
// be. It knows nothing of sessions or sockets: what a client brought along is
// handed to it.
package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-realtime/realtime/internal/names"
)

// Identity is who a client proved to be. It is immutable.
type Identity struct {
	// ID is the user's id: not empty, at most 128 bytes of valid UTF-8
	// without control characters.
	ID string
	// Claims is a JSON object: the token's claims, each key once, numbers as
	// the issuer wrote them, and "id", which is ID whatever the token says.
	Claims []byte
	// Expires is when the identity ends, leeway included; zero means never.
	// An identity that replaces this one must end later.
	Expires time.Time
	// KeepExpired lets the bearer stay when the identity has ended: it was good
	// when the client connected, and that is enough.
	KeepExpired bool
}

// Both are final: a client that gets them must not be told to try again. Any
// other error of this package's Authenticate and Verify is a passing trouble.
var (
	ErrNoToken      = errors.New("no token")
	ErrInvalidToken = errors.New("invalid token")
)

// ErrNoExpiry and ErrNoUser accompany ErrInvalidToken. They say what a token with a
// good signature lacks: its issuer, or Config, must be changed.
var (
	ErrNoExpiry = errors.New("no claim exp")
	ErrNoUser   = errors.New("no user id")
)

// NewIdentity returns the identity of the user with that id, whose claims are
// those given, and "id". The map is the callee's. It fails if id is none that
// an Identity may have; the error does not contain it.
func NewIdentity(id string, claims map[string]json.RawMessage) (*Identity, error) {
	switch {
	case id == "":
		return nil, errors.New("the user's id is missing or empty")
	case len(id) > names.MaxUser:
		return nil, fmt.Errorf("the user's id has more than %d bytes", names.MaxUser)
	case !names.Clean(id):
		return nil, errors.New("the user's id contains control characters or is not UTF-8")
	}
	quoted, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	if claims == nil {
		claims = map[string]json.RawMessage{}
	}
	claims["id"] = quoted
	object, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	return &Identity{ID: id, Claims: object}, nil
}
