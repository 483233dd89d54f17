package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const secret = "0123456789abcdef0123456789abcdef"

// sign makes a token of claims, a JSON object, with the given header on top of
// the algorithm's.
func sign(t *testing.T, method jwt.SigningMethod, key any, claims string, header map[string]any) string {
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

func hs256(t *testing.T, claims string) string {
	return sign(t, jwt.SigningMethodHS256, []byte(secret), claims, nil)
}

func verifier(t *testing.T, c Config) *Verifier {
	t.Helper()
	if c.Secret == "" {
		c.Secret = secret
	}
	v, err := NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestIdentity(t *testing.T) {
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
			config: Config{UserClaim: "uid"},
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
			id, err := verifier(t, tc.config).Verify(hs256(t, tc.claims))
			if err != nil {
				t.Fatal(err)
			}
			if id.ID != tc.id || string(id.Claims) != tc.object {
				t.Errorf("got %q %s, want %q %s", id.ID, id.Claims, tc.id, tc.object)
			}
		})
	}
}

func TestAlgorithms(t *testing.T) {
	claims := `{"sub":"ann","exp":4102444800}`
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		token string
		ok    bool
	}{
		"HS256":        {hs256(t, claims), true},
		"HS384":        {sign(t, jwt.SigningMethodHS384, []byte(secret), claims, nil), true},
		"HS512":        {sign(t, jwt.SigningMethodHS512, []byte(secret), claims, nil), true},
		"other secret": {sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), claims, nil), false},
		"none":         {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims, nil), false},
		"None":         {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims, map[string]any{"alg": "None"}), false},
		"RS256":        {sign(t, jwt.SigningMethodRS256, rsaKey, claims, nil), false},
		"RS256 signed with the secret": {
			sign(t, jwt.SigningMethodHS256, []byte(secret), claims, map[string]any{"alg": "RS256"}), false},
		"ES256":        {sign(t, jwt.SigningMethodES256, ecKey, claims, nil), false},
		"unknown alg":  {sign(t, jwt.SigningMethodHS256, []byte(secret), claims, map[string]any{"alg": "HS1"}), false},
		"alg a number": {sign(t, jwt.SigningMethodHS256, []byte(secret), claims, map[string]any{"alg": 256}), false},
		"jku":          {sign(t, jwt.SigningMethodHS256, []byte(secret), claims, map[string]any{"jku": "https://evil.example"}), false},
		"x5u":          {sign(t, jwt.SigningMethodHS256, []byte(secret), claims, map[string]any{"x5u": "https://evil.example"}), false},
		"jwk":          {sign(t, jwt.SigningMethodHS256, []byte(secret), claims, map[string]any{"jwk": map[string]any{}}), false},
		"crit":         {sign(t, jwt.SigningMethodHS256, []byte(secret), claims, map[string]any{"crit": []string{"b64"}}), false},
		"kid":          {sign(t, jwt.SigningMethodHS256, []byte(secret), claims, map[string]any{"kid": "1"}), true},
		"cut":          {strings.TrimRight(hs256(t, claims), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"), false},
		"two parts":    {"a.b", false},
		"garbage":      {"\x00\xff..", false},
		"huge":         {hs256(t, `{"sub":"ann","exp":4102444800,"x":"`+strings.Repeat("x", 8<<10)+`"}`), false},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := verifier(t, Config{}).Verify(tc.token)
			if tc.ok != (err == nil) || tc.ok != (id != nil) {
				t.Errorf("got %v, %v", id, err)
			}
			if err != nil && !errors.Is(err, ErrInvalidToken) {
				t.Errorf("%v is not ErrInvalidToken", err)
			}
		})
	}
}

func TestRefusedClaims(t *testing.T) {
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
		"exp out of range":    {claims: `{"sub":"ann","exp":1e999}`},
		"no sub":              {claims: `{"exp":4102444800}`},
		"sub empty":           {claims: `{"sub":"","exp":4102444800}`},
		"sub null":            {claims: `{"sub":null,"exp":4102444800}`},
		"sub a number":        {claims: `{"sub":7,"exp":4102444800}`},
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
			if id, err := verifier(t, tc.config).Verify(hs256(t, tc.claims)); !errors.Is(err, ErrInvalidToken) {
				t.Errorf("got %+v, %v", id, err)
			}
		})
	}
}

func TestLeeway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t, Config{Leeway: 10 * time.Second})
		end := time.Now().Add(time.Minute).Truncate(time.Second)
		claims, err := json.Marshal(map[string]any{"sub": "ann", "exp": end.Unix()})
		if err != nil {
			t.Fatal(err)
		}
		token := hs256(t, string(claims))
		id, err := v.Verify(token)
		if err != nil || !id.Expires.Equal(end.Add(10*time.Second)) {
			t.Fatalf("got %+v, %v; want an end 10s after %v", id, err, end)
		}
		time.Sleep(69 * time.Second)
		if _, err := v.Verify(token); err != nil {
			t.Errorf("9s after exp: %v", err)
		}
		time.Sleep(2 * time.Second)
		if _, err := v.Verify(token); !errors.Is(err, ErrInvalidToken) {
			t.Errorf("11s after exp: %v", err)
		}
	})
}

func TestSources(t *testing.T) {
	ann := hs256(t, `{"sub":"ann","exp":4102444800}`)
	bob := hs256(t, `{"sub":"bob","exp":4102444800}`)
	for name, tc := range map[string]struct {
		optional        bool
		payload, bearer string
		id              string
		err             error
	}{
		"payload":                {payload: `{"token":"` + ann + `"}`, id: "ann"},
		"bearer":                 {bearer: bob, id: "bob"},
		"payload first":          {payload: `{"token":"` + ann + `"}`, bearer: bob, id: "ann"},
		"bad payload, no bearer": {payload: `{"token":"x"}`, bearer: bob, err: ErrInvalidToken},
		"empty payload token":    {payload: `{"token":""}`, bearer: bob, id: "bob"},
		"null payload token":     {payload: `{"token":null}`, bearer: bob, id: "bob"},
		"capital payload key":    {payload: `{"Token":"` + ann + `"}`, err: ErrNoToken},
		"payload token a number": {payload: `{"token":7}`, err: ErrInvalidToken},
		"payload token an array": {payload: `{"token":["` + ann + `"]}`, err: ErrInvalidToken},
		"payload a list":         {payload: `["token"]`, err: ErrInvalidToken},
		"payload too big":        {payload: `{"x":"` + strings.Repeat("x", 64<<10) + `"}`, err: ErrInvalidToken},
		"nothing":                {err: ErrNoToken},
		"nothing, optional":      {optional: true, payload: `{}`},
		"bad, optional":          {optional: true, bearer: "x", err: ErrInvalidToken},
	} {
		t.Run(name, func(t *testing.T) {
			v := verifier(t, Config{Optional: tc.optional})
			id, err := v.Authenticate([]byte(tc.payload), Credentials{Bearer: tc.bearer})
			if !errors.Is(err, tc.err) {
				t.Fatalf("got %v, want %v", err, tc.err)
			}
			if got := idOf(id); got != tc.id {
				t.Errorf("got %q, want %q", got, tc.id)
			}
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
	token := hs256(t, `{"sub":7,"exp":4102444800,"password":"hunter2"}`)
	for _, bad := range []string{token, token + "x", "x" + token, "hunter2.hunter2.hunter2"} {
		_, err := verifier(t, Config{}).Verify(bad)
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

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no secret":       {},
		"short secret":    {Secret: secret[1:]},
		"negative leeway": {Secret: secret, Leeway: -1},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewVerifier(c); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func FuzzAuthenticate(f *testing.F) {
	f.Add(`{"token":"a.b.c"}`, "a.b.c")
	f.Add(`{"token":"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."}`, "")
	v, err := NewVerifier(Config{Secret: secret, AllowNoExp: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload, bearer string) {
		if id, err := v.Authenticate([]byte(payload), Credentials{Bearer: bearer}); err == nil {
			t.Errorf("accepted as %s", id.Claims)
		}
	})
}
