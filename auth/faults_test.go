//go:build faults

package auth

import (
	"testing"
	"testing/synctest"

	"github.com/caddy-realtime/realtime/internal/guard"
)

// A panic of the goroutine that fetches does not end the fetching.
func TestPanicDoesNotEndTheFetching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fired := guard.Arm("key set")
		s := keySet(t, KeySetConfig{}, &endpoint{body: jwks(t, jwk{"a", keys().p256})})
		<-fired
		accepts(t, verifier(t, Config{KeySet: s}), signed(t, "a", keys().p256))
	})
}
