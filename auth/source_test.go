package auth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func source(t testing.TB, text string) Source {
	t.Helper()
	s, err := ParseSource(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sources(t testing.TB, texts ...string) (list []Source) {
	t.Helper()
	for _, text := range texts {
		list = append(list, source(t, text))
	}
	return list
}

// credentials are a token where the source says.
func credentials(t testing.TB, from, token string) Credentials {
	if token == "" {
		return Credentials{}
	}
	return Credentials{[]credential{{source(t, from), token}}}
}

func TestParseSourceTakesKnownSourcesOnly(t *testing.T) {
	for _, text := range []string{"auth.token", "header.Authorization", "header.authorization", "query.token", "query.a.b", "cookie.session", "protocol"} {
		if _, err := ParseSource(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"", "auth", "auth.jwt", "header.X-Token", "query", "query.", "cookie.", "protocol.x", "Protocol", "body.token", "query.sid", "query.t"} {
		if _, err := ParseSource(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

// Browsers send cookies for pages of other sites too, and a query parameter with
// a token must not reach the rules.
func TestSourcesThatNeedCare(t *testing.T) {
	for text, want := range map[string]struct {
		ambient  bool
		queryKey string
	}{
		"auth.token": {}, "header.Authorization": {}, "protocol": {},
		"cookie.session": {ambient: true}, "query.jwt": {queryKey: "jwt"},
	} {
		if s := source(t, text); s.Ambient() != want.ambient || s.QueryKey() != want.queryKey {
			t.Errorf("%s: ambient %v, query key %q", text, s.Ambient(), s.QueryKey())
		}
	}
}

func TestNoTokenAmongTheSubprotocols(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header["Sec-Websocket-Protocol"] = []string{"realtime.v1, xbearer.a", "Bearer.a"}
	if c := Collect(r, sources(t, "protocol")); !c.Empty() {
		t.Errorf("kept %d", len(c.found))
	}
}

func TestCollectTakesTheFirstOfEachSource(t *testing.T) {
	r := httptest.NewRequest("GET", "/?jwt=q&jwt=q2&empty=&a.b=dotted", nil)
	r.Header = http.Header{
		"Authorization":          {"bEaReR  h "},
		"Cookie":                 {"other=1; session=c; session=c2"},
		"Sec-Websocket-Protocol": {"realtime.v1", "x, bearer.p.q.r"},
	}
	for text, want := range map[string]string{
		"auth.token": "", "header.Authorization": "h", "query.jwt": "q", "query.JWT": "", "query.empty": "", "query.a.b": "dotted",
		"cookie.session": "c", "cookie.nothing": "", "protocol": "p.q.r",
	} {
		s := source(t, text)
		c := Collect(r, []Source{s, s})
		got, err := s.token(nil, c)
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", text, got, err, want)
		}
		if c.Empty() != (want == "") || len(c.found) > 1 {
			t.Errorf("%s: kept %d", text, len(c.found))
		}
	}
	if c := Collect(r, nil); !c.Empty() {
		t.Error("kept what nobody asked for")
	}
	r.Header.Set("Authorization", "Basic "+strings.Repeat("x", 9000))
	if c := Collect(r, DefaultSources()); !c.Empty() {
		t.Error("took a password for a token")
	}
	r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 900_000))
	c := Collect(r, DefaultSources())
	if n := len(c.found[0].token); n > maxToken+1 {
		t.Errorf("kept %d bytes", n)
	}
	if _, err := verifier(t, Config{}).Authenticate(t.Context(), nil, c); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("got %v for a token that is too long", err)
	}
}

func TestPayloadComesBeforeTheBearerToken(t *testing.T) {
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
			id, err := v.Authenticate(t.Context(), []byte(tc.payload), credentials(t, "header.Authorization", tc.bearer))
			if !errors.Is(err, tc.err) {
				t.Fatalf("got %v, want %v", err, tc.err)
			}
			if got := idOf(id); got != tc.id {
				t.Errorf("got %q, want %q", got, tc.id)
			}
		})
	}
}

// The first source that has a token decides; what is not a source does not count.
func TestFirstSourceWithATokenDecides(t *testing.T) {
	ann, bob := hs256(t, good), hs256(t, `{"sub":"bob","exp":4102444800}`)
	payload := []byte(`{"token":"` + ann + `"}`)
	cookie := credentials(t, "cookie.session", bob)
	for name, tc := range map[string]struct {
		from []string
		id   string
		err  error
	}{
		"payload first": {[]string{"auth.token", "cookie.session"}, "ann", nil},
		"cookie first":  {[]string{"cookie.session", "auth.token"}, "bob", nil},
		"cookie only":   {[]string{"cookie.session"}, "bob", nil},
		"other cookie":  {[]string{"cookie.x"}, "", ErrNoToken},
		"next one":      {[]string{"query.x", "protocol", "cookie.session"}, "bob", nil},
		"default":       {nil, "ann", nil},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := verifier(t, Config{From: sources(t, tc.from...)}).Authenticate(t.Context(), payload, cookie)
			if idOf(id) != tc.id || !errors.Is(err, tc.err) {
				t.Errorf("got %q, %v", idOf(id), err)
			}
		})
	}
}
