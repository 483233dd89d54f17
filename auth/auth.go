// Package auth turns tokens into identities. It knows nothing of HTTP
// requests, sessions or sockets: what a client brought along is handed to it.
package auth

import (
	"errors"
	"time"
)

// Identity is who a token says its bearer is. It is immutable.
type Identity struct {
	// ID is the user's id: not empty, at most 128 bytes of valid UTF-8
	// without control characters.
	ID string
	// Claims is a JSON object: the token's claims, each key once, numbers as
	// the issuer wrote them, and "id", which is ID whatever the token says.
	Claims []byte
	// Expires is when the identity ends, leeway included; zero means never.
	Expires time.Time
	// KeepExpired lets the bearer stay when the identity has ended.
	KeepExpired bool
}

// Credentials are what the request that opened a session carried, beside the
// payload that its client sends with each CONNECT.
type Credentials struct {
	Bearer string // of the Authorization header, without the scheme; "" if none
}

// Both are final: a client that gets them must not be told to try again.
var (
	ErrNoToken      = errors.New("no token")
	ErrInvalidToken = errors.New("invalid token")
)
