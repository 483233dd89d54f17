package auth

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The first claim of the list that a token has is the user's id: a string, or an
// integer as its decimal text.
func TestUserIDFromFirstClaimThatIsThere(t *testing.T) {
	for claims, tc := range map[string]struct {
		names []string
		id    string // "" if the token is invalid
	}{
		`{"sub":"ann","id":7}`:             {nil, "ann"},
		`{"id":7}`:                         {nil, "7"},
		`{"id":"ann"}`:                     {nil, "ann"},
		`{"sub":null,"id":7}`:              {nil, "7"},
		`{"sub":7}`:                        {nil, "7"},
		`{"sub":-7}`:                       {nil, "-7"},
		`{"sub":0}`:                        {nil, "0"},
		`{"sub":-0}`:                       {nil, "0"},
		`{"sub":9007199254740993}`:         {nil, "9007199254740993"},
		`{"sub":123456789012345678901234}`: {nil, "123456789012345678901234"},
		`{"sub":"","id":"ann"}`:            {nil, ""},
		`{"sub":true,"id":"ann"}`:          {nil, ""},
		`{"sub":["ann"],"id":"ann"}`:       {nil, ""},
		`{"sub":{},"id":"ann"}`:            {nil, ""},
		`{"sub":7.0}`:                      {nil, ""},
		`{"sub":1.5}`:                      {nil, ""},
		`{"sub":7e0}`:                      {nil, ""},
		`{"sub":1E3}`:                      {nil, ""},
		`{"ID":7}`:                         {nil, ""},
		`{}`:                               {nil, ""},
		`{"sub":` + strings.Repeat("1", 128) + `}`: {nil, strings.Repeat("1", 128)},
		`{"sub":` + strings.Repeat("1", 129) + `}`: {nil, ""},
		`{"sub":"ann","uid":7}`:                    {[]string{"uid"}, "7"},
		`{"sub":"ann","mail":"a@b"}`:               {[]string{"uid", "mail", "sub"}, "a@b"},
		`{"sub":"ann","id":"ann"}`:                 {[]string{"uid"}, ""},
	} {
		v := verifier(t, Config{AllowNoExp: true, UserClaims: tc.names})
		switch id, err := v.Verify(t.Context(), hs256(t, claims)); {
		case tc.id == "" && !errors.Is(err, ErrInvalidToken):
			t.Errorf("%s: got %+v, %v", claims, id, err)
		case tc.id == "":
		case idOf(id) != tc.id:
			t.Errorf("%s: got %q, %v; want %q", claims, idOf(id), err, tc.id)
		case !strings.Contains(string(id.Claims), `"id":"`+tc.id+`"`):
			t.Errorf("%s: claims %s", claims, id.Claims)
		}
	}
}

// exp and nbf are numbers, as RFC 7519 has them; how far away they are makes no
// difference.
func TestNumericDatesAsRFC7519HasThem(t *testing.T) {
	far := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	for exp, want := range map[string]time.Time{
		"4102444800":           time.Unix(4102444800, 0),
		"4102444800.5":         time.Unix(4102444800, 5e8),
		"4.1024448e9":          time.Unix(4102444800, 0),
		"253402214399":         time.Unix(253402214399, 0),
		"253402214400":         far,
		"9223372036854775807":  far,
		"9223372036854775808":  far, // 2^63
		"18446744073709551616": far,
		"1e300":                far,
		"1e999":                far,
		`"4102444800"`:         {},
		`"soon"`:               {},
		"null":                 {},
		"true":                 {},
		"[4102444800]":         {},
		"{}":                   {},
		"0":                    {},
		"-1":                   {},
		"-9223372036854775809": {},
		"-1e999":               {},
	} {
		claims := `{"sub":"ann","exp":` + exp + `}`
		id, err := verifier(t, Config{AllowNoExp: true, Leeway: 0}).Verify(t.Context(), hs256(t, claims))
		switch {
		case want.IsZero() && !errors.Is(err, ErrInvalidToken):
			t.Errorf("exp %s: got %+v, %v", exp, id, err)
		case !want.IsZero() && (err != nil || !id.Expires.Equal(want)):
			t.Errorf("exp %s: got %+v, %v; want %v", exp, id, err, want)
		}
	}
	for nbf, ok := range map[string]bool{
		"0": true, "-1e999": true, "-9223372036854775809": true, "1.5": true,
		"1e999": false, "9223372036854775808": false, `"0"`: false, "null": false,
	} {
		claims := `{"sub":"ann","exp":4102444800,"nbf":` + nbf + `}`
		if id, err := verifier(t, Config{}).Verify(t.Context(), hs256(t, claims)); ok != (err == nil) || !ok && !errors.Is(err, ErrInvalidToken) {
			t.Errorf("nbf %s: got %+v, %v", nbf, id, err)
		}
	}
}

// A fraction of a second counts.
func TestFractionOfASecondOfExpCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := hs256(t, fmt.Sprintf(`{"sub":"ann","exp":%d.5}`, time.Now().Unix()))
		if _, err := verifier(t, Config{}).Verify(t.Context(), token); err != nil {
			t.Error(err)
		}
		time.Sleep(501 * time.Millisecond)
		if _, err := verifier(t, Config{}).Verify(t.Context(), token); !errors.Is(err, ErrInvalidToken) {
			t.Error(err)
		}
	})
}

// A token has nothing around or in it, although the decoder skips line breaks.
func TestOnlyCharactersOfATokenInAToken(t *testing.T) {
	token := hs256(t, good)
	v := verifier(t, Config{})
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	for _, extra := range []string{"\n", "\r", "\r\n", " ", "\t", "=", "\x00", "é"} {
		for _, bad := range []string{token + extra, extra + token, token[:5] + extra + token[5:], strings.Replace(token, ".", extra+".", 1)} {
			if id, err := v.Verify(t.Context(), bad); !errors.Is(err, ErrInvalidToken) {
				t.Errorf("%q: got %+v, %v", bad, id, err)
			}
		}
	}
}
