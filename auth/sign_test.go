package auth

import (
	"strings"
	"testing"
)

func TestSignedTokensAreVerified(t *testing.T) {
	token, err := Sign(secret, []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	accepts(t, verifier(t, Config{Algorithms: []string{"HS256"}}), token)
	refuses(t, verifier(t, Config{Secret: strings.ToUpper(secret)}), token)
}

func TestSignKeepsClaimsAsWritten(t *testing.T) {
	token, err := Sign(secret, []byte(`{"sub":"ann","exp":4102444800,"n":12345678901234567890.10}`))
	if err != nil {
		t.Fatal(err)
	}
	id, err := verifier(t, Config{}).Verify(t.Context(), token)
	if err != nil || !strings.Contains(string(id.Claims), `"n":12345678901234567890.10`) {
		t.Errorf("got %+v, %v", id, err)
	}
}

func TestSignRefusesWhatNoVerifierTakes(t *testing.T) {
	for name, tc := range map[string]struct{ secret, claims string }{
		"31 bytes of secret": {secret[1:], good},
		"no claims":          {secret, ""},
		"a list of claims":   {secret, `["sub"]`},
		"broken claims":      {secret, `{"sub":`},
	} {
		if token, err := Sign(tc.secret, []byte(tc.claims)); err == nil {
			t.Errorf("%s: got %s", name, token)
		}
	}
}
