package realtime

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/realtime/auth"
)

// A token gets in from wherever `from` says, on Socket.IO and plain WebSockets,
// and no rule and no log sees it.
func TestTokenFromAnywhereIsSeenNowhere(t *testing.T) {
	dir := t.TempDir()
	access, process := filepath.Join(dir, "access.log"), filepath.Join(dir, "process.log")
	port := freePort(t)
	mustLoad(t, fmt.Sprintf("{%s log {\n output file %s\n level DEBUG\n }\n}\n", globalOptions, process)+
		site(port, fmt.Sprintf("log {\n output file %s\n level DEBUG\n}\n", access)+
			identified("jwt {\n secret "+testSecret+"\n from query.jwt cookie.session protocol auth.token\n }")))
	ann := token(t, "ann")
	for name, tc := range map[string]struct {
		query    string
		header   http.Header
		protocol string // that is selected
	}{
		"query":    {query: "&jwt=" + url.QueryEscape(ann)},
		"cookie":   {header: http.Header{"Cookie": {"a=b; session=" + ann}}},
		"protocol": {header: http.Header{"Sec-Websocket-Protocol": {"realtime.v1, bearer." + ann}}, protocol: "realtime.v1"},
	} {
		for _, address := range []string{endpoint + "websocket", "/socket.io/?x=y"} {
			conn, resp, err := dialAgain(fmt.Sprintf("ws://127.0.0.1:%d%s%s", port, address, tc.query), tc.header)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, address, err)
			}
			defer conn.Close()
			if got := resp.Header.Get("Sec-Websocket-Protocol"); got != tc.protocol {
				t.Errorf("%s, %s: selected %q", name, address, got)
			}
			c := &webSocketClient{conn: conn}
			if address == "/socket.io/?x=y" {
				expectPlain(t, c, name, ann)
				continue
			}
			expect(t, c, "0{")
			join(t, c, "")
			expectUser(t, c, `[{"exp":`)
			if got, err := call(c, "handshake"); err != nil || strings.Contains(got, ann) || strings.Contains(got, `"jwt"`) {
				t.Errorf("%s: the handshake is %s, %v", name, got, err)
			}
		}
	}
	get(t, port, "/socket.io/"+handshake+"&jwt="+ann, "Sec-WebSocket-Protocol", "bearer."+ann, "Cookie", "session="+ann)
	get(t, port, "/socket.io/"+strings.Replace(handshake, "4", "3", 1)+"&jwt="+ann)
	expectRefusal(t, dialWebSocket(t, port, http.Header{"Cookie": {"session=x" + ann}}), "", "Invalid token")
	expectRefusal(t, dialWebSocket(t, port, http.Header{"Authorization": {"Bearer " + ann}}), "", "Authentication error") // no source
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{access, process} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.Index(string(content), ann); i >= 0 || len(content) == 0 {
			t.Errorf("%s contains the token: %.300s", filepath.Base(path), content[max(i-200, 0):])
		}
	}
}

// A namespace without auth shows no token either: neither auth.token nor what
// the sources of other namespaces name, on whatever protocol.
func TestNoNamespaceShowsTokens(t *testing.T) {
	process, port := filepath.Join(t.TempDir(), "process.log"), freePort(t)
	const rules = "on handshake {\n log socket.handshake\n ack socket.handshake\n }\n"
	mustLoad(t, fmt.Sprintf("{%s log {\n output file %s\n level DEBUG\n }\n}\n", globalOptions, process)+site(port, `realtime {
		`+rules+`
		namespace /chat {
			auth jwt {
				secret `+testSecret+`
				from   query.jwt cookie.session protocol auth.token header.Authorization
			}
			`+rules+`
		}
		namespace ~/x.* {
			`+rules+`
		}
	}`))
	ann := token(t, "ann")
	header := http.Header{"Cookie": {"session=" + ann}, "Authorization": {"Bearer " + ann}, "Sec-Websocket-Protocol": {"mine, bearer." + ann}}
	dial := func(address string) *webSocketClient {
		t.Helper()
		conn, _, err := dialAgain(fmt.Sprintf("ws://127.0.0.1:%d%s&jwt=%s&shown=1", port, address, ann), header)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return &webSocketClient{conn}
	}
	expectHidden := func(packet, prefix string) {
		t.Helper()
		if !strings.HasPrefix(packet, prefix) || strings.Contains(packet, ann) || !strings.Contains(packet, `"shown":"1"`) || !strings.Contains(packet, `"auth":{"x":1}`) {
			t.Errorf("got %s", packet)
		}
	}
	exchange := func(c *webSocketClient, packet, prefix string) string {
		t.Helper()
		if err := c.send(packet); err != nil {
			t.Fatal(err)
		}
		return expect(t, c, prefix)
	}
	c := dial(endpoint + "websocket")
	expect(t, c, "0{")
	for _, namespace := range []string{"", "/chat,", "/xy,"} {
		exchange(c, "40"+namespace+`{"token":"`+ann+`","x":1}`, "40"+namespace+`{"sid"`)
		expectHidden(exchange(c, "42"+namespace+`1["handshake"]`, "43"+namespace), "43"+namespace+"1[")
	}
	plain := dial("/socket.io/?p=1")
	expect(t, plain, `{"open"`)
	exchange(plain, `{"connect":"/xy","auth":{"token":"`+ann+`","x":1}}`, `{"connected"`)
	expectHidden(exchange(plain, `{"event":"handshake","id":1,"ns":"/xy"}`, "{"), `{"ack":1`)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(process)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), ann) || strings.Count(string(content), "shown") < 4 {
		t.Errorf("the log: %s", content)
	}
}

// expectPlain checks that a plain client was let in at once.
func expectPlain(t *testing.T, c testClient, name, token string) {
	t.Helper()
	if packet, err := c.receive(); err != nil || !strings.HasPrefix(packet, `{"open":`) || !strings.Contains(packet, `"id":"ann"`) {
		t.Errorf("%s: got %s, %v", name, packet, err)
	}
	if err := c.send(`{"event":"handshake","id":1}`); err != nil {
		t.Fatal(err)
	}
	if packet, err := c.receive(); err != nil || !strings.Contains(packet, `"x":"y"`) || strings.Contains(packet, token) {
		t.Errorf("%s: got %s, %v", name, packet, err)
	}
}

// What no source names is not kept with the session, and nothing at all is
// where nothing is wanted.
func TestNothingIsKeptThatNobodyWants(t *testing.T) {
	r := httptest.NewRequest("GET", "/socket.io/"+handshake+"&token=q", nil)
	r.Header.Set("Authorization", "Bearer h")
	r.Header.Set("Cookie", "session=c")
	for _, s := range []credentialSpec{{}, (&HTTPUser{}).credentials(), {sources: mustParse(t, "protocol", "query.other", "auth.token")}} {
		if got := s.collect(r); !got.Empty() {
			t.Errorf("%+v kept %+v", s, got)
		}
	}
	s := credentialSpec{sources: mustParse(t, "query.token")}
	if got := s.collect(r); got.Empty() {
		t.Error("nothing kept of a source")
	}
}

// Only the query key sid names a session: a handshake with others that contain
// the word is one, with its credentials, its claims and its line in the access
// log.
func TestHandshakeWithKeysThatContainSid(t *testing.T) {
	log, port := filepath.Join(t.TempDir(), "access.log"), freePort(t)
	mustLoad(t, quiet(site(port, "log {\n output file "+log+"\n}\ntest_user ann ann@example.com\n"+`realtime {
		auth jwt {
			secret `+testSecret+`
			from   header.Authorization query.mysid
		}
		on whoami {
			ack user.id
		}
		namespace /front {
			auth caddy {
				claims email
			}
			on connect {
				require `+"`user.email != \"ann@example.com\"`"+` "banned"
			}
		}
	}`)))
	bearer := http.Header{"Authorization": {"Bearer " + token(t, "ann")}}
	queries := map[string]http.Header{
		"mysid=1": bearer, "visid=2": bearer, "x=sid=3": bearer, "%26sid=4": bearer, "SID=5": bearer, "sid[]=6": bearer, "sid=": bearer, "sid": bearer,
		"mysid=" + token(t, "ann"): nil,
	}
	for query, header := range queries {
		conn, resp, err := dialAgain(fmt.Sprintf("ws://127.0.0.1:%d%swebsocket&%s", port, endpoint, query), header)
		if err != nil {
			t.Fatalf("%s: %v, %v", query, err, resp)
		}
		c := &webSocketClient{conn}
		expect(t, c, "0{")
		join(t, c, "")
		expectAnswer(t, c, "whoami", `["ann"]`)
		if err := c.send("40/front,"); err != nil {
			t.Fatal(err)
		}
		expect(t, c, `44/front,{"message":"banned"}`)
		conn.Close()
	}
	for _, query := range []string{"sid=none", "%73id=none", "mysid=1&sid=none"} {
		if status, _, body := get(t, port, "/socket.io/"+handshake+"&"+query); status != 400 || !strings.Contains(body, "Session ID unknown") {
			t.Errorf("%s: got %d, %s", query, status, body)
		}
	}
	settle(t, "a line in the access log for each session", func() bool { return len(sessionLines(t, log)) == len(queries) })
}

func mustParse(t *testing.T, texts ...string) (list []auth.Source) {
	t.Helper()
	for _, text := range texts {
		s, err := auth.ParseSource(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// A JSON config is refused as the Caddyfile is.
func TestAmbientIdentityWithAnyOrigin(t *testing.T) {
	for name, auth := range map[string]string{
		"cookie": `{"method":"jwt","secret":"` + testSecret + `","from":["auth.token","cookie.session"]}`,
		"front":  `{"method":"caddy"}`,
		"none":   `{"method":"jwt","secret":"` + testSecret + `"}`,
	} {
		for _, place := range []string{`"auth":%s`, `"namespaces":[{"name":"/x","auth":%s}]`} {
			for _, origin := range []string{"*", "null"} {
				h := fmt.Sprintf(`{"hub":"ambient","origins":["`+origin+`"],`+place+`}`, auth)
				err := tryProvision(t, h)
				if (name == "none") != (err == nil) || err != nil && !strings.Contains(err.Error(), "origins "+origin) {
					t.Errorf("%s: got %v", h, err)
				}
			}
		}
	}
}

func tryProvision(t *testing.T, handler string) error {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ctx.LoadModuleByID("http.handlers.realtime", []byte(handler))
	if err == nil {
		err = m.(*Handler).Cleanup()
	}
	return err
}
