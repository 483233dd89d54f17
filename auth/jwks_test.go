package auth

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// A jwk is what an issuer publishes of a key of its own.
type jwk struct {
	id  string
	key crypto.Signer
}

func jwks(t testing.TB, list ...jwk) string {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, k := range list {
		set.Keys = append(set.Keys, jose.JSONWebKey{KeyID: k.id, Key: k.key.Public()})
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An endpoint answers requests for a key set without a network.
type endpoint struct {
	mu    sync.Mutex
	body  string
	err   error         // instead of an answer
	hold  chan struct{} // if not nil, answers wait for it
	calls []time.Time
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	e.mu.Lock()
	e.calls = append(e.calls, time.Now())
	hold := e.hold
	e.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return nil, e.err
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(e.body)), Request: r}, nil
}

// becomes changes what is answered.
func (e *endpoint) becomes(body string, err error, hold chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.body, e.err, e.hold = body, err, hold
}

func (e *endpoint) asked() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.calls)
}

// keySet is one that is closed at the test's end.
func keySet(t testing.TB, c KeySetConfig, transport http.RoundTripper) *KeySet {
	t.Helper()
	if c.URL == "" {
		c.URL = "https://issuer.example/keys"
	}
	c.transport = transport
	s, err := NewKeySet(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// signed is a good token of a key.
func signed(t testing.TB, id string, key crypto.Signer) string {
	alg := "ES256"
	if key == crypto.Signer(keys().rsa) {
		alg = "RS256"
	}
	header := map[string]any{}
	if id != "" {
		header["kid"] = id
	}
	return sign(t, jwt.GetSigningMethod(alg), key, good, header)
}

func accepts(t *testing.T, v *Verifier, token string) {
	t.Helper()
	if id, err := v.Verify(t.Context(), token); idOf(id) != "ann" {
		t.Errorf("got %+v, %v", id, err)
	}
}

// troubled checks that a token is neither accepted nor refused for good.
func troubled(t *testing.T, v *Verifier, token string) {
	t.Helper()
	if id, err := v.Verify(t.Context(), token); !passing(id, err) {
		t.Errorf("got %+v, %v", id, err)
	}
}

func passing(id *Identity, err error) bool {
	return id == nil && err != nil && !errors.Is(err, ErrInvalidToken) && !errors.Is(err, ErrNoToken)
}

func TestKeyIsFoundByItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, other := keys(), newKeyring()
		v := verifier(t, Config{KeySet: keySet(t, KeySetConfig{}, &endpoint{body: jwks(t, jwk{"a", k.p256}, jwk{"b", other.p256}, jwk{"c", k.rsa})})})
		accepts(t, v, signed(t, "a", k.p256))
		accepts(t, v, signed(t, "b", other.p256))
		accepts(t, v, signed(t, "c", k.rsa))
		accepts(t, v, signed(t, "", other.p256)) // any that fits
		refuses(t, v, signed(t, "b", k.p256))
		refuses(t, v, signed(t, "c", k.p256))
		refuses(t, v, signed(t, "", newKeyring().p256))
	})
}

func TestManyKeysThatCouldBeMeant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var list []jwk
		for range 5 {
			list = append(list, jwk{"same", keys().p256})
		}
		v := verifier(t, Config{KeySet: keySet(t, KeySetConfig{}, &endpoint{body: jwks(t, list...)})})
		refuses(t, v, signed(t, "", keys().p256))
		refuses(t, v, signed(t, "same", keys().p256))
	})
}

// What a set also contains is never taken for a key that signs tokens.
func TestKeysThatAreNone(t *testing.T) {
	other := newKeyring()
	encode := func(k jose.JSONWebKey) string {
		text, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, foreign := range map[string]string{
		"for encryption":    encode(jose.JSONWebKey{KeyID: "x", Key: other.p256.Public(), Use: "enc"}),
		"for ECDH":          encode(jose.JSONWebKey{KeyID: "x", Key: other.p256.Public(), Algorithm: "ECDH-ES"}),
		"private":           encode(jose.JSONWebKey{KeyID: "x", Key: other.p256}),
		"a secret":          encode(jose.JSONWebKey{KeyID: "x", Key: []byte(secret)}),
		"off the curve":     strings.Replace(encode(jose.JSONWebKey{KeyID: "x", Key: other.p256.Public()}), `"y":"`, `"y":"AAAA`, 1),
		"of an unknown kty": `{"kty":"AKP","kid":"x"}`,
		"not an object":     `[1]`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := strings.Replace(jwks(t, jwk{"good", keys().p256}), `{"keys":[`, `{"keys":[`+foreign+`,`, 1)
				v := verifier(t, Config{KeySet: keySet(t, KeySetConfig{}, &endpoint{body: body})})
				accepts(t, v, signed(t, "good", keys().p256))
				refuses(t, v, signed(t, "x", other.p256))
				refuses(t, v, sign(t, jwt.SigningMethodHS256, []byte(secret), good, map[string]any{"kid": "x"}))
			})
		})
	}
}

func TestKeySetNarrowsAlgorithms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{KeyID: "any", Key: keys().rsa.Public(), Use: "sig"},
			{KeyID: "PS384", Key: keys().rsa.Public(), Algorithm: "PS384"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		v := verifier(t, Config{KeySet: keySet(t, KeySetConfig{}, &endpoint{body: string(list)})})
		for _, alg := range rsaAlgorithms {
			of := func(kid string) string {
				return sign(t, jwt.GetSigningMethod(alg), keys().rsa, good, map[string]any{"kid": kid})
			}
			accepts(t, v, of("any"))
			if alg == "PS384" {
				accepts(t, v, of("PS384"))
			} else {
				refuses(t, v, of("PS384"))
			}
		}
	})
}

func TestRotatedKeysAreFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		was, is := keys().p256, newKeyring().p256
		e := &endpoint{body: jwks(t, jwk{"1", was})}
		v := verifier(t, Config{KeySet: keySet(t, KeySetConfig{Refresh: time.Hour}, e)})
		accepts(t, v, signed(t, "1", was))

		e.becomes(jwks(t, jwk{"1", was}, jwk{"2", is}), nil, nil)
		accepts(t, v, signed(t, "2", is))
		accepts(t, v, signed(t, "1", was))
		if n := e.asked(); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}

		e.becomes(jwks(t, jwk{"2", is}), nil, nil)
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		refuses(t, v, signed(t, "1", was))
		accepts(t, v, signed(t, "2", is))
	})
}

func TestUnknownKidsCauseFewFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 1000
		e := &endpoint{body: jwks(t, jwk{"1", keys().p256})}
		v := verifier(t, Config{KeySet: keySet(t, KeySetConfig{}, e)})
		accepts(t, v, signed(t, "1", keys().p256))

		hold := make(chan struct{})
		e.becomes(jwks(t, jwk{"1", keys().p256}), nil, hold)
		results := make(chan error, many)
		for i := range many {
			token := signed(t, fmt.Sprint("unknown-", i), keys().p256)
			go func() {
				_, err := v.Verify(t.Context(), token)
				results <- err
			}()
		}
		synctest.Wait()
		if len(results) > 0 || e.asked() != 2 {
			t.Errorf("during the fetch: %d answered, %d fetches; want 0, 2", len(results), e.asked())
		}
		accepts(t, v, signed(t, "1", keys().p256)) // nobody else waits
		close(hold)
		for range many {
			if err := <-results; !errors.Is(err, ErrInvalidToken) {
				t.Fatal(err)
			}
		}

		e.becomes("", nil, make(chan struct{})) // would block
		began := time.Now()
		for i := range 100 {
			refuses(t, v, signed(t, fmt.Sprint("more-", i), keys().p256))
		}
		if e.asked() != 2 || time.Since(began) > 0 {
			t.Errorf("within 30 s: %d fetches after %s", e.asked(), time.Since(began))
		}

		e.becomes(jwks(t, jwk{"1", keys().p256}), nil, nil)
		time.Sleep(fetchGap)
		refuses(t, v, signed(t, "later", keys().p256))
		if e.asked() != 3 {
			t.Errorf("after 30 s: %d fetches, want 3", e.asked())
		}
	})
}

func TestEndpointDownAfterStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{body: jwks(t, jwk{"1", keys().p256})}
		var reports []error
		v := verifier(t, Config{KeySet: keySet(t, KeySetConfig{Refresh: time.Minute, Report: func(err error) { reports = append(reports, err) }}, e)})
		accepts(t, v, signed(t, "1", keys().p256))

		e.becomes("", errors.New("connection refused"), nil)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if err := reports[len(reports)-1]; err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("reported %v", err)
		}
		accepts(t, v, signed(t, "1", keys().p256))
		next := newKeyring().p256
		troubled(t, v, signed(t, "2", next)) // who knows?

		e.becomes(jwks(t, jwk{"2", next}), nil, nil)
		time.Sleep(fetchGap)
		synctest.Wait()
		accepts(t, v, signed(t, "2", next))
		refuses(t, v, signed(t, "1", keys().p256))
	})
}

func TestEndpointDownFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{err: errors.New("connection refused")}
		v := verifier(t, Config{KeySet: keySet(t, KeySetConfig{}, e)})
		for range 100 {
			troubled(t, v, signed(t, "1", keys().p256))
		}
		refuses(t, v, "garbage") // wrong whatever the keys are
		refuses(t, v, sign(t, jwt.SigningMethodHS256, []byte(secret), good, nil))
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := e.asked(); n > 3600/10+10 {
			t.Errorf("%d fetches in an hour", n)
		}
		e.becomes(jwks(t, jwk{"1", keys().p256}), nil, nil)
		time.Sleep(maxRetry)
		synctest.Wait()
		accepts(t, v, signed(t, "1", keys().p256))
	})
}

func TestCallersContextEndsTheWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t, Config{KeySet: keySet(t, KeySetConfig{}, &endpoint{hold: make(chan struct{})})})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if id, err := v.Verify(ctx, signed(t, "1", keys().p256)); !passing(id, err) || time.Since(began) != time.Second {
			t.Errorf("got %+v, %v after %s", id, err, time.Since(began))
		}
	})
}

func TestCloseEndsTheWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := keySet(t, KeySetConfig{}, &endpoint{hold: make(chan struct{})})
		v := verifier(t, Config{KeySet: s})
		done := make(chan struct{})
		go func() {
			defer close(done)
			troubled(t, v, signed(t, "1", keys().p256))
		}()
		synctest.Wait()
		s.Close()
		<-done
		troubled(t, v, signed(t, "2", keys().p256))
	})
}

// The pauses between fetches double while no key is known, and are fixed once
// there are keys.
func TestPausesBetweenFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("connection refused")
		e := &endpoint{err: down}
		began := time.Now()
		keySet(t, KeySetConfig{Refresh: 10 * time.Minute}, e)
		fetched := func(until time.Duration, want ...time.Duration) {
			t.Helper()
			time.Sleep(until - time.Since(began))
			synctest.Wait()
			var got []time.Duration
			for _, at := range e.calls {
				got = append(got, at.Sub(began))
			}
			if !slices.Equal(got, want) {
				t.Errorf("fetched at %v, want %v", got, want)
			}
			e.calls = nil
		}
		fetched(34*time.Second, 0, 1*time.Second, 3*time.Second, 7*time.Second, 15*time.Second, 25*time.Second)
		e.becomes(jwks(t, jwk{"1", keys().p256}), nil, nil)
		fetched(600*time.Second, 35*time.Second)
		e.becomes("", down, nil)
		fetched(700*time.Second, 635*time.Second, 665*time.Second, 695*time.Second)
		e.becomes(jwks(t, jwk{"1", keys().p256}), nil, nil)
		fetched(1400*time.Second, 725*time.Second, 1325*time.Second)
	})
}

// Whoever is told of the fetches may panic: the next comes in time, and keys
// that were fetched are good.
func TestPanicInAReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{body: jwks(t, jwk{"a", keys().p256})}
		s := keySet(t, KeySetConfig{Report: func(error) { panic("on purpose") }}, e)
		v := verifier(t, Config{KeySet: s})
		accepts(t, v, signed(t, "a", keys().p256))
		synctest.Wait()
		time.Sleep(maxRetry - time.Second)
		if n := e.asked(); n != 1 {
			t.Errorf("%d fetches at once", n)
		}
		e.becomes(jwks(t, jwk{"b", keys().p256}), nil, nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		accepts(t, v, signed(t, "b", keys().p256))
		_, _ = v.Verify(t.Context(), signed(t, "c", keys().p256)) // causes a fetch
		synctest.Wait()
		troubled(t, v, signed(t, "c", keys().p256))
	})
}
