package auth

import (
	"crypto/rsa"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// sized is a good token of that many bytes.
func sized(t *testing.T, size int) string {
	t.Helper()
	for padding := size*3/4 - 200; padding < size; padding++ {
		claims := `{"sub":"ann","exp":4102444800,"x":"` + strings.Repeat("x", padding) + `"}`
		for kid := range 3 { // base64 is never one byte longer than a multiple of four
			token := sign(t, jwt.SigningMethodHS256, []byte(secret), claims, map[string]any{"kid": strings.Repeat("k", kid)})
			if len(token) == size {
				return token
			}
		}
	}
	t.Fatalf("there is no token of %d bytes", size)
	return ""
}

func TestTokensOfUpTo8KiBAreTaken(t *testing.T) {
	v := verifier(t, Config{})
	for _, from := range []string{"query.jwt", "header.Authorization", "protocol", "cookie.jwt"} {
		for size, want := range map[int]string{8 << 10: "ann", 8<<10 + 1: ""} {
			token := sized(t, size)
			r, err := http.NewRequest("GET", "/?jwt="+token, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Cookie", "jwt="+token)
			r.Header.Set("Sec-WebSocket-Protocol", "bearer."+token)
			list := sources(t, from)
			id, err := verifier(t, Config{From: list}).Authenticate(t.Context(), nil, Collect(r, list))
			if idOf(id) != want {
				t.Errorf("%s of %d bytes: got %q, %v", from, size, idOf(id), err)
			}
		}
	}
	accepts(t, v, sized(t, 8<<10))
	refuses(t, v, sized(t, 8<<10+1))
}

func TestPayloadsOfUpTo64KiBAreSearched(t *testing.T) {
	v := verifier(t, Config{})
	for size, want := range map[int]string{64 << 10: "ann", 64<<10 + 1: ""} {
		payload := `{"token":"` + hs256(t, good) + `","x":"`
		payload += strings.Repeat("x", size-len(payload)-len(`"}`)) + `"}`
		if id, err := v.Authenticate(t.Context(), []byte(payload), Credentials{}); idOf(id) != want {
			t.Errorf("%d bytes: got %q, %v", size, idOf(id), err)
		}
	}
}

func TestRSAKeysOf2048To8192BitsAreTaken(t *testing.T) {
	for bits, want := range map[uint]bool{2047: false, 2048: true, 8192: true, 8193: false} {
		modulus := new(big.Int).Lsh(big.NewInt(1), bits-1)
		public := &rsa.PublicKey{N: modulus.SetBit(modulus, 0, 1), E: 65537}
		if _, err := NewVerifier(Config{PublicKey: pemOf(t, "PUBLIC KEY", public)}); want != (err == nil) {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
}

func TestKeySetsOfUpTo64KeysAnd256KiBAreTaken(t *testing.T) {
	many := func(n int) string {
		list := []jwk{{"a", keys().p256}}
		for i := range n - 1 {
			list = append(list, jwk{fmt.Sprint(i), keys().ed})
		}
		return jwks(t, list...)
	}
	padded := func(size int) string {
		set := many(1)
		return set + strings.Repeat(" ", size-len(set))
	}
	for name, tc := range map[string]struct {
		body string
		ok   bool
	}{
		"64 keys":         {many(64), true},
		"65 keys":         {many(65), false},
		"256 KiB":         {padded(256 << 10), true},
		"256 KiB, 1 byte": {padded(256<<10 + 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := verifier(t, Config{KeySet: keySet(t, KeySetConfig{}, &endpoint{body: tc.body})})
				if tc.ok {
					accepts(t, v, signed(t, "a", keys().p256))
				} else {
					troubled(t, v, signed(t, "a", keys().p256))
				}
			})
		})
	}
}

func TestFourKeysMayShareAnID(t *testing.T) {
	for n, check := range map[int]func(*testing.T, *Verifier, string){4: accepts, 5: refuses} {
		synctest.Test(t, func(t *testing.T) {
			var list []jwk
			for range n - 1 {
				list = append(list, jwk{"same", newKeyring().p256})
			}
			list = append(list, jwk{"same", keys().p256})
			v := verifier(t, Config{KeySet: keySet(t, KeySetConfig{}, &endpoint{body: jwks(t, list...)})})
			check(t, v, signed(t, "same", keys().p256))
			check(t, v, signed(t, "", keys().p256))
		})
	}
}

func TestThreeRedirectsAreFollowed(t *testing.T) {
	set := jwks(t, jwk{"1", keys().p256})
	for hops, check := range map[int]func(*testing.T, *Verifier, string){3: accepts, 4: troubled} {
		synctest.Test(t, func(t *testing.T) {
			v, _ := served(t, "http://localhost/", func(w http.ResponseWriter, r *http.Request) {
				if len(r.URL.Path) <= hops {
					http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
					return
				}
				_, _ = io.WriteString(w, set)
			})
			check(t, v, signed(t, "1", keys().p256))
		})
	}
}

func TestKeySetIsRefreshedEvery30SecondsAtMost(t *testing.T) {
	for refresh, want := range map[time.Duration]bool{30*time.Second - 1: false, 30 * time.Second: true, 0: true, -1: false} {
		s, err := NewKeySet(KeySetConfig{URL: "https://issuer.example/keys", Refresh: refresh, transport: &endpoint{}})
		if err == nil {
			s.Close()
		}
		if want != (err == nil) {
			t.Errorf("%s: %v", refresh, err)
		}
	}
}

func TestUserIDsOfUpTo128BytesAreTaken(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "名前": true, strings.Repeat("a", 128): true,
		"": false, strings.Repeat("a", 129): false, "a\x00": false, "a\u0085": false, "\xff": false,
	} {
		got, err := NewIdentity(id, nil)
		if want != (err == nil) || want && got.ID != id {
			t.Errorf("%q: got %+v, %v", id, got, err)
		}
		if err != nil && id != "" && strings.Contains(err.Error(), id) {
			t.Errorf("%q stands in %q", id, err)
		}
	}
}
