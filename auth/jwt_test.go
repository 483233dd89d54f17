package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const secret = "0123456789abcdef0123456789abcdef"

// sign makes a token of claims, a JSON object, with the given header on top of
// the algorithm's.
func sign(t testing.TB, method jwt.SigningMethod, key any, claims string, header map[string]any) string {
	t.Helper()
	token := jwt.New(method)
	for name, value := range header {
		token.Header[name] = value
	}
	head, err := json.Marshal(token.Header)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	sig, err := method.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func hs256(t testing.TB, claims string) string {
	return sign(t, jwt.SigningMethodHS256, []byte(secret), claims, nil)
}

func verifier(t *testing.T, c Config) *Verifier {
	t.Helper()
	if c.Secret == "" && c.PublicKey == nil && c.KeySet == nil {
		c.Secret = secret
	}
	v, err := NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestClaimsMakeAnIdentity(t *testing.T) {
	for name, tc := range map[string]struct {
		config Config
		claims string
		id     string
		object string
	}{
		"sub": {
			claims: `{"sub":"ann","exp":4102444800}`,
			id:     "ann", object: `{"exp":4102444800,"id":"ann","sub":"ann"}`,
		},
		"own id claim is replaced": {
			claims: `{"id":7,"sub":"ann","exp":4102444800}`,
			id:     "ann", object: `{"exp":4102444800,"id":"ann","sub":"ann"}`,
		},
		"another claim": {
			config: Config{UserClaims: []string{"uid"}},
			claims: `{"sub":"x","uid":"ann","exp":4102444800}`,
			id:     "ann", object: `{"exp":4102444800,"id":"ann","sub":"x","uid":"ann"}`,
		},
		"numbers as written, keys once": {
			claims: `{"sub":"ann","n":12345678901234567890.10,"n2":1,"n2":2e0,"exp":4102444800}`,
			id:     "ann", object: `{"exp":4102444800,"id":"ann","n":12345678901234567890.10,"n2":2e0,"sub":"ann"}`,
		},
		"issuer and audience": {
			config: Config{Issuer: "us", Audience: []string{"chat", "news"}},
			claims: `{"sub":"ann","iss":"us","aud":["web","news"],"exp":4102444800}`,
			id:     "ann", object: `{"aud":["web","news"],"exp":4102444800,"id":"ann","iss":"us","sub":"ann"}`,
		},
		"no exp": {
			config: Config{AllowNoExp: true},
			claims: `{"sub":"ann"}`,
			id:     "ann", object: `{"id":"ann","sub":"ann"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := verifier(t, tc.config).Verify(t.Context(), hs256(t, tc.claims))
			if err != nil {
				t.Fatal(err)
			}
			if id.ID != tc.id || string(id.Claims) != tc.object {
				t.Errorf("got %q %s, want %q %s", id.ID, id.Claims, tc.id, tc.object)
			}
		})
	}
}

func TestTokenWithRefusedClaimsIsInvalid(t *testing.T) {
	for name, tc := range map[string]struct {
		config Config
		claims string
	}{
		"expired":             {claims: `{"sub":"ann","exp":946684800}`},
		"not yet valid":       {claims: `{"sub":"ann","exp":4102444800,"nbf":4102444799}`},
		"no exp":              {claims: `{"sub":"ann"}`},
		"exp null":            {claims: `{"sub":"ann","exp":null}`},
		"exp a string":        {claims: `{"sub":"ann","exp":"soon"}`},
		"exp in capitals":     {claims: `{"sub":"ann","EXP":4102444800}`},
		"no sub nor id":       {claims: `{"exp":4102444800}`},
		"sub empty":           {claims: `{"sub":"","exp":4102444800}`},
		"sub null":            {claims: `{"sub":null,"exp":4102444800}`},
		"sub a fraction":      {claims: `{"sub":7.5,"exp":4102444800}`},
		"sub a list":          {claims: `{"sub":["ann"],"exp":4102444800}`},
		"sub too long":        {claims: `{"sub":"` + strings.Repeat("a", 129) + `","exp":4102444800}`},
		"sub with a newline":  {claims: `{"sub":"a\nb","exp":4102444800}`},
		"sub in capitals":     {claims: `{"SUB":"ann","exp":4102444800}`},
		"wrong issuer":        {Config{Issuer: "us"}, `{"sub":"ann","iss":"them","exp":4102444800}`},
		"no issuer":           {Config{Issuer: "us"}, `{"sub":"ann","exp":4102444800}`},
		"issuer in capitals":  {Config{Issuer: "us"}, `{"sub":"ann","ISS":"us","exp":4102444800}`},
		"wrong audience":      {Config{Audience: []string{"chat"}}, `{"sub":"ann","aud":"news","exp":4102444800}`},
		"no audience":         {Config{Audience: []string{"chat"}}, `{"sub":"ann","exp":4102444800}`},
		"claims not a object": {claims: `[]`},
		"claims null":         {Config{AllowNoExp: true}, `null`},
		"claims no JSON":      {claims: `{`},
	} {
		t.Run(name, func(t *testing.T) {
			if id, err := verifier(t, tc.config).Verify(t.Context(), hs256(t, tc.claims)); !errors.Is(err, ErrInvalidToken) {
				t.Errorf("got %+v, %v", id, err)
			}
		})
	}
}

func TestLeewayProlongsTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t, Config{Leeway: 10 * time.Second})
		end := time.Now().Add(time.Minute).Truncate(time.Second)
		claims, err := json.Marshal(map[string]any{"sub": "ann", "exp": end.Unix()})
		if err != nil {
			t.Fatal(err)
		}
		token := hs256(t, string(claims))
		id, err := v.Verify(t.Context(), token)
		if err != nil || !id.Expires.Equal(end.Add(10*time.Second)) {
			t.Fatalf("got %+v, %v; want an end 10s after %v", id, err, end)
		}
		time.Sleep(69 * time.Second)
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Errorf("9s after exp: %v", err)
		}
		time.Sleep(2 * time.Second)
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrInvalidToken) {
			t.Errorf("11s after exp: %v", err)
		}
	})
}

// An issuer's clock, or ours, may be an hour wrong: nobody gets in then unless
// leeway allows for it.
func TestClockAnHourOff(t *testing.T) {
	for name, tc := range map[string]struct {
		off    time.Duration // of the issuer's clock
		leeway time.Duration
		ok     bool
	}{
		"right":                     {0, 0, true},
		"ahead":                     {time.Hour, 0, false},
		"ahead, with leeway":        {time.Hour, time.Hour, true},
		"further ahead than leeway": {time.Hour + time.Second, time.Hour, false},
		"behind":                    {-time.Hour, 0, false},
		"behind, with leeway":       {-time.Hour, time.Hour, true},
		"further behind":            {-time.Hour - time.Minute, time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issued := time.Now().Add(tc.off)
				claims := fmt.Sprintf(`{"sub":"ann","iat":%d,"nbf":%[1]d,"exp":%d}`, issued.Unix(), issued.Add(time.Minute).Unix())
				id, err := verifier(t, Config{Leeway: tc.leeway}).Verify(t.Context(), hs256(t, claims))
				if tc.ok != (err == nil) || !tc.ok && !errors.Is(err, ErrInvalidToken) {
					t.Errorf("got %+v, %v", id, err)
				}
			})
		})
	}
}

func idOf(id *Identity) string {
	if id == nil {
		return ""
	}
	return id.ID
}

func TestErrorsTellNoSecrets(t *testing.T) {
	token := hs256(t, `{"sub":7.5,"exp":4102444800,"password":"hunter2"}`)
	for _, bad := range []string{token, token + "x", "x" + token, "hunter2.hunter2.hunter2"} {
		_, err := verifier(t, Config{}).Verify(t.Context(), bad)
		if err == nil {
			t.Fatalf("%q was accepted", bad)
		}
		for _, part := range append(strings.Split(token, "."), "hunter2", secret) {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%q contains %q", err, part)
			}
		}
	}
}

func TestKeepExpiredReachesTheIdentity(t *testing.T) {
	for _, keep := range []bool{false, true} {
		id, err := verifier(t, Config{KeepExpired: keep}).Verify(t.Context(), hs256(t, `{"sub":"ann","exp":4102444800}`))
		if err != nil || id.KeepExpired != keep || id.Expires.Unix() != 4102444800 {
			t.Errorf("got %+v, %v", id, err)
		}
	}
}

func TestSenselessConfigIsAnError(t *testing.T) {
	text := pemOf(t, "PUBLIC KEY", keys().rsa.Public())
	for name, c := range map[string]Config{
		"no key":                      {},
		"short secret":                {Secret: secret[1:]},
		"negative leeway":             {Secret: secret, Leeway: -1},
		"two keys":                    {Secret: secret, PublicKey: text},
		"unknown algorithm":           {Secret: secret, Algorithms: []string{"HS1024"}},
		"algorithm none":              {Secret: secret, Algorithms: []string{"none"}},
		"HS256 with a public key":     {PublicKey: text, Algorithms: []string{"HS256"}},
		"ES256 with an RSA key":       {PublicKey: text, Algorithms: []string{"RS256", "ES256"}},
		"RS256 with a secret":         {Secret: secret, Algorithms: []string{"RS256"}},
		"an empty file as public key": {PublicKey: []byte{}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewVerifier(c); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestConfigNamesTheKey(t *testing.T) {
	_, err := NewVerifier(Config{PublicKey: []byte("none")})
	if err == nil || err.Error() != "public key: no PEM block" {
		t.Error(err)
	}
}

// Whatever comes, nobody is let in who does not have the key.
func FuzzVerify(f *testing.F) {
	f.Add(`{"token":"a.b.c"}`, "a.b.c")
	f.Add(`{"token":"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."}`, "")
	for alg, k := range keys().signers() {
		f.Add("", sign(f, jwt.GetSigningMethod(alg), k, `{"sub":"ann","exp":1}`, map[string]any{"kid": "x"}))
	}
	var verifiers []*Verifier
	for _, c := range []Config{
		{Secret: secret},
		{PublicKey: pemOf(f, "PUBLIC KEY", keys().rsa.Public())},
		{PublicKey: pemOf(f, "PUBLIC KEY", keys().p256.Public())},
		{PublicKey: pemOf(f, "PUBLIC KEY", keys().ed.Public())},
	} {
		c.AllowNoExp = true
		v, err := NewVerifier(c)
		if err != nil {
			f.Fatal(err)
		}
		verifiers = append(verifiers, v)
	}
	f.Fuzz(func(t *testing.T, payload, bearer string) {
		for _, v := range verifiers {
			id, err := v.Authenticate(t.Context(), []byte(payload), credentials(t, "header.Authorization", bearer))
			if err == nil {
				t.Errorf("accepted as %s", id.Claims)
			}
		}
	})
}
