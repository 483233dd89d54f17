package realtime

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/golang-jwt/jwt/v5"
)

// get asks for a path and returns status, header and body.
func get(t *testing.T, port int, path string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return roundTrip(t, http.DefaultTransport, req)
}

// roundTrip returns status, header and body of the answer.
func roundTrip(t *testing.T, via http.RoundTripper, req *http.Request) (int, http.Header, string) {
	t.Helper()
	resp, err := via.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

const handshake = "?EIO=4&transport=polling"

func TestPathDecidesWhatIsOurs(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "index.html"), []byte("the app"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		block  string
		inside []string
		beside []string
	}{
		"default": {"realtime",
			[]string{"/socket.io/", "/socket.io"},
			[]string{"/", "/socket.iox/", "/socket/", "/x/socket.io/"}},
		"own": {"realtime {\n path /rt/live\n}",
			[]string{"/rt/live/", "/rt/live"},
			[]string{"/socket.io/", "/rt/", "/rt/lives/"}},
		"behind try_files": {"realtime\n try_files /nothing /index.html",
			[]string{"/socket.io/", "/socket.io"},
			[]string{"/", "/socket.iox/"}},
		"behind a matcher": {"realtime /a/* {\n path /a/socket.io/\n}",
			[]string{"/a/socket.io/"},
			[]string{"/socket.io/", "/a/"}},
		"in handle_path": {"handle_path /api/* {\n realtime\n}",
			[]string{"/api/socket.io/"},
			[]string{"/socket.io/"}},
	} {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			mustLoad(t, quiet(site(port, fmt.Sprintf(tc.block+"\n handle {\n root * %s\n rewrite * /index.html\n file_server\n }", root))))
			for _, path := range tc.inside {
				if status, _, body := get(t, port, path+handshake); status != 200 || !strings.HasPrefix(body, `0{"sid":"`) {
					t.Errorf("%s: got %d %q", path, status, body)
				}
			}
			for _, path := range tc.beside {
				if _, _, body := get(t, port, path+handshake); strings.HasPrefix(body, "0{") {
					t.Errorf("%s: answered by realtime", path)
				}
			}
		})
	}
}

func TestUnknownFileBelowPathIsAnEngineError(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, "realtime")))
	if status, _, body := get(t, port, "/socket.io/socket.io.js"); status != 400 || !strings.Contains(body, `"code":0`) {
		t.Errorf("got %d %q", status, body)
	}
}

func TestClientFilesAreServedAlone(t *testing.T) {
	port := freePort(t)
	dir := t.TempDir()
	for _, name := range []string{"socket.io.js", "socket.io.min.js.map", "secret.js"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("// "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustLoad(t, quiet(site(port, fmt.Sprintf("realtime {\n client %s\n}", dir))))

	status, header, body := get(t, port, "/socket.io/socket.io.js?v=1")
	if status != 200 || body != "// socket.io.js" ||
		header.Get("Content-Type") != "application/javascript; charset=utf-8" || header.Get("Cache-Control") != "public, max-age=0" {
		t.Errorf("got %d %v %q", status, header, body)
	}
	etag := header.Get("ETag")
	for _, condition := range []string{etag, "W/" + etag} {
		if status, _, body := get(t, port, "/socket.io/socket.io.js", "If-None-Match", condition); status != 304 || body != "" {
			t.Errorf("If-None-Match %s: got %d %q", condition, status, body)
		}
	}
	if status, header, _ := get(t, port, "/socket.io/socket.io.min.js.map"); status != 200 || header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("map: got %d %v", status, header)
	}
	for _, path := range []string{"secret.js", "socket.io.esm.min.js", "", "../secret.js", "%2e%2e/secret.js", "x/socket.io.js", "socket.io.js/"} {
		if status, _, body := get(t, port, "/socket.io/"+path); status == 200 {
			t.Errorf("%s: got %d %q", path, status, body)
		}
	}
}

func TestEncodeDoesNotBreakPolls(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, `encode gzip
	realtime {
		on big {
			ack args...
		}
	}`)))
	c := dialPolling(t, port)
	join(t, c, "")
	text := strings.Repeat("abcdefgh", 1000)
	if err := c.send(`420["big","` + text + `"]`); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("GET", c.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip") // set here, the transport does not decode
	_, header, body := roundTrip(t, c.http.Transport, req)
	if encodings := header.Values("Content-Encoding"); len(encodings) == 1 && encodings[0] == "gzip" {
		r, err := gzip.NewReader(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		body = string(text)
	} else if len(encodings) > 0 {
		t.Fatalf("encoded as %q", encodings)
	}
	if want := `430["` + text + `"]`; body != want {
		t.Errorf("got %.40q…", body)
	}

	ws := dialWebSocket(t, port, nil) // upgrades pass through encode as well
	join(t, ws, "")
}

func TestSameOriginBehindTLSProxy(t *testing.T) {
	for options, want := range map[string]int{
		"": 403,
		"servers {\n trusted_proxies static 127.0.0.1/32\n }": 200,
	} {
		port := freePort(t)
		origin := fmt.Sprintf("https://127.0.0.1:%d", port)
		mustLoad(t, strings.Replace(quiet(site(port, "realtime")), "{", "{\n"+options, 1))
		for _, proto := range []string{"https", "HTTPS", "wss", "https, http", "https,http", "wss , ws"} {
			if status, _, body := get(t, port, "/socket.io/"+handshake, "Origin", origin, "X-Forwarded-Proto", proto); status != want {
				t.Errorf("with %q and %q: got %d %q, want %d", options, proto, status, body, want)
			}
		}
		for _, proto := range []string{"", "http", "ws", "http, https", "httpsx", ",https"} {
			if status, _, _ := get(t, port, "/socket.io/"+handshake, "Origin", origin, "X-Forwarded-Proto", proto); status != 403 {
				t.Errorf("with %q and %q: got %d for another scheme", options, proto, status)
			}
		}
	}
}

// provision makes a Handler of a config that is never started.
func provision(t *testing.T, h *Handler) *Handler {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ctx.LoadModuleByID("http.handlers.realtime", raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.(*Handler).Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return m.(*Handler)
}

var notFound = caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNotFound)
	return nil
})

// Requests may come before App.Start: they are served all the same.
func TestRequestBeforeStartIsServed(t *testing.T) {
	h := provision(t, &Handler{Hub: "early"})
	w := httptest.NewRecorder()
	r := caddyhttp.PrepareRequest(httptest.NewRequest("GET", "/socket.io/"+handshake, nil), caddy.NewReplacer(), w, nil)
	if err := h.ServeHTTP(w, r, notFound); err != nil || w.Code != 200 || !strings.HasPrefix(w.Body.String(), "0{") {
		t.Errorf("got %v, %d %q", err, w.Code, w.Body)
	}
}

func TestEarlyDataIsRefused(t *testing.T) {
	h := provision(t, &Handler{Hub: "early-data"})
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/socket.io/"+handshake, nil)
	r.TLS = &tls.ConnectionState{HandshakeComplete: false}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
	if err := h.ServeHTTP(w, r, notFound); err != nil || w.Code != http.StatusTooEarly {
		t.Errorf("got %v, %d", err, w.Code)
	}
}

func TestWriteTimeoutThatCutsPolls(t *testing.T) {
	port := freePort(t)
	config := func(timeout, block string) string {
		return strings.Replace(quiet(site(port, block)), "{", "{\n servers {\n timeouts {\n write "+timeout+"\n }\n }\n", 1)
	}
	for _, tc := range []struct {
		timeout, block string
		ok             bool
	}{
		{"25s", "realtime", false},
		{"30s", "realtime", false},
		{"31s", "realtime", true},
		{"10s", "realtime {\n ping 3s 3s\n}", true},
		{"10s", "realtime {\n transports websocket\n}", true},
		{"10s", "realtime {\n protocols json\n}", true},
	} {
		text := config(tc.timeout, tc.block)
		want := fmt.Sprintf("Caddyfile:%d: the server's write timeout", lineOf(text, " realtime"))
		err := validate(t, text)
		if tc.ok != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("write %s with %s: got %v", tc.timeout, tc.block, err)
		}
	}
}

// What only shows when modules are loaded names the block, too.
func TestErrorsOfModulesHaveALine(t *testing.T) {
	text := quiet(site(freePort(t), "realtime {\n auth jwt {\n public_key /nowhere.pem\n }\n}"))
	err := validate(t, text)
	want := fmt.Sprintf("Caddyfile:%d: ", lineOf(text, " realtime"))
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "/nowhere.pem") {
		t.Errorf("got %v; want %s… with the file", err, want)
	}
}

const testSecret = "0123456789abcdef0123456789abcdef"

func token(t *testing.T, user string) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": user, "exp": time.Now().Add(time.Hour).Unix()}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const whoAmI = `realtime {
	auth jwt {
		secret %s
	}
	on whoami {
		ack user.id
	}
}`

func TestSecretsMayBePlaceholders(t *testing.T) {
	t.Setenv("REALTIME_TEST_SECRET", testSecret)
	for name, tc := range map[string]struct {
		secret string
		err    string
	}{
		"env":           {"{env.REALTIME_TEST_SECRET}", ""},
		"file":          {"{file." + writeFile(t, "secret", testSecret+"\n") + "}", ""},
		"missing env":   {"{env.REALTIME_TEST_NOTHING}", "secret"},
		"missing file":  {"{file./nonexistent/secret}", "secret"},
		"unknown":       {"{nothing.at.all}", "secret"},
		"short in file": {"{file." + writeFile(t, "short", "short") + "}", "at least 32"},
	} {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			err := load(t, quiet(site(port, fmt.Sprintf(whoAmI, tc.secret))))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c := dialWebSocket(t, port, nil)
			join(t, c, fmt.Sprintf(`{"token":%q}`, token(t, "ann")))
			expectAnswer(t, c, "whoami", `["ann"]`)
		})
	}
}

// Who is online is known to rules, and not forgotten by a reload.
func TestPresenceIsKnownToRulesAcrossReloads(t *testing.T) {
	port := freePort(t)
	config := func(answer string) string {
		return quiet(site(port, fmt.Sprintf("realtime {\n auth jwt {\n secret %s\n }\n on connect {\n join \"lobby\"\n }\n on who {\n ack %s\n }\n}", testSecret, answer)))
	}
	mustLoad(t, config("online() `members(\"lobby\")`"))
	for range 2 { // two devices of one user
		join(t, dialWebSocket(t, port, nil), fmt.Sprintf(`{"token":%q}`, token(t, "ann")))
	}
	bob := dialWebSocket(t, port, nil)
	join(t, bob, fmt.Sprintf(`{"token":%q}`, token(t, "bob")))
	expectAnswer(t, bob, "who", `[["ann","bob"],["ann","bob"]]`)
	mustLoad(t, config("`is_online(\"ann\")` `is_online(\"eve\")` `size(online())`"))
	expectAnswer(t, bob, "who", `[true,false,2]`)
}

// Presence is what a namespace says, else what the main one says, and of that
// what a preset in use fills in. A reload changes it for live sockets.
func TestAnnouncementsFollowTheNamespaceThenTheMainOne(t *testing.T) {
	port := freePort(t)
	config := func(options string) string {
		return quiet(site(port, "realtime {\n"+options+"\n}"))
	}
	mustLoad(t, config(`presence {
			interval 1ms
		}
		use presence
		namespace /inherits {
			on user-online {
				appear data
			}
		}
		namespace /lists {
			use presence
		}
		namespace /silent {
			presence {
				announce off
			}
			use presence
		}`))
	c := dialWebSocket(t, port, nil)
	join(t, c, "")
	var told []string
	await := func(prefix string) { // announcements come in their own time
		t.Helper()
		for {
			packet, err := next(c)
			if err != nil {
				t.Fatalf("waiting for %s: %v; told %q", prefix, err, told)
			}
			if strings.HasPrefix(packet, prefix) {
				return
			}
			told = append(told, packet)
		}
	}
	await(`42["online-users",[]]`)
	appear := func(namespace string) {
		t.Helper()
		for _, packet := range []string{"40" + namespace + ",", "42" + namespace + `,0["user-online","ann"]`} {
			if err := c.send(packet); err != nil {
				t.Fatal(err)
			}
		}
		await("43" + namespace + ",0[]")
	}
	appear("/inherits")
	appear("/silent")
	appear("/lists")
	if list := `42/lists,["online-users",["ann"]]`; !slices.Contains(told, list) { // it may come before the answer
		await(list)
	}

	mustLoad(t, config(`presence {
			announce diff
			interval 1ms
		}
		namespace /inherits {
			on user-online {
				appear data
			}
		}`))
	if err := c.send(`42/inherits,["user-online","bob"]`); err != nil {
		t.Fatal(err)
	}
	await(`42/inherits,["user-online",{"userId":"bob",`)
	await(`42/inherits,["user-offline",{"userId":"ann",`)
	for _, packet := range told {
		if strings.HasPrefix(packet, "42/inherits,") || strings.HasPrefix(packet, "42/silent,") {
			t.Errorf("told %s", packet)
		}
	}
}

func TestTokenComesFromHeaderOrPayload(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, fmt.Sprintf(whoAmI, testSecret))))

	inHeader := dialWebSocket(t, port, http.Header{"Authorization": {"bearer " + token(t, "bob")}})
	join(t, inHeader, "")
	expectAnswer(t, inHeader, "whoami", `["bob"]`)

	for payload, want := range map[string]string{
		"":              `44{"message":"Authentication error"}`,
		"{}":            `44{"message":"Authentication error"}`,
		`{"token":"x"}`: `44{"message":"Invalid token"}`,
	} {
		c := dialWebSocket(t, port, nil)
		if err := c.send("40" + payload); err != nil {
			t.Fatal(err)
		}
		expect(t, c, want)
	}
}

// No log sink may contain what would let its reader take over a session.
func TestLogsContainNoSecrets(t *testing.T) {
	port := freePort(t)
	dir := t.TempDir()
	access, process := filepath.Join(dir, "access.log"), filepath.Join(dir, "process.log")
	mustLoad(t, fmt.Sprintf("{%s log {\n output file %s\n level DEBUG\n }\n}\n", globalOptions, process)+
		site(port, fmt.Sprintf("log {\n output file %s\n level DEBUG\n}\n", access)+
			fmt.Sprintf(whoAmI, testSecret)+"\n respond /plain ok"))

	ann := token(t, "ann")
	secrets := []string{testSecret, ann, "hidden-cookie", "hidden-query", "hidden-protocol", "hidden-payload"}
	for name, dial := range dialers {
		c := dial(t, port)
		join(t, c, fmt.Sprintf(`{"token":%q,"x":"hidden-payload"}`, ann))
		expectAnswer(t, c, "whoami", `["ann"]`)
		if err := c.send("garbage hidden-payload"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if p, ok := c.(*pollingClient); ok {
			_, sid, _ := strings.Cut(p.url, "&sid=")
			secrets = append(secrets, sid)
			get(t, port, "/socket.io/"+handshake+"&sid="+sid) // too late: 400
		}
	}
	refused := dialWebSocket(t, port, http.Header{"Authorization": {"Bearer hidden-payload." + ann}, "Cookie": {"session=hidden-cookie"}})
	if err := refused.send(`40{"token":"hidden-payload"}`); err != nil {
		t.Fatal(err)
	}
	expect(t, refused, "44")
	get(t, port, "/socket.io/"+handshake+"&token=hidden-query")
	get(t, port, "/socket.io/"+handshake+"&sid=hidden-query")
	get(t, port, "/socket.io/?%zz=hidden-query")
	get(t, port, "/socket.io/"+handshake, "Sec-WebSocket-Protocol", "realtime.v1, bearer.hidden-protocol")
	get(t, port, "/socket.io/"+handshake, "Cookie", "session=hidden-cookie")
	get(t, port, "/plain")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}

	for _, path := range []string{access, process} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets {
			if i := bytes.Index(content, []byte(secret)); i >= 0 {
				line := content[bytes.LastIndexByte(content[:i], '\n')+1:]
				line, _, _ = bytes.Cut(line, []byte("\n"))
				t.Errorf("%s contains %q: %s", filepath.Base(path), secret, line)
			}
		}
	}
	logged := accessLog(t, access)
	for uri, status := range map[string]int{
		"/plain":                                200,
		"/socket.io/?EIO=4&transport=polling":   200,
		"/socket.io/?EIO=4&transport=websocket": 101,
	} {
		if logged[uri] != status {
			t.Errorf("%s: the access log says %d, want %d", uri, logged[uri], status)
		}
	}
}

// accessLog reads URI and status of the requests in an access log.
func accessLog(t *testing.T, path string) map[string]int {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[string]int{}
	for line := range bytes.Lines(content) {
		var entry struct {
			Request struct{ URI string }
			Status  int
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatal(err)
		}
		statuses[entry.Request.URI] = entry.Status
	}
	return statuses
}

func TestRequestsWithSecretsAreFound(t *testing.T) {
	for _, tc := range []struct {
		uri, rewritten, protocol string
		want                     bool
	}{
		{"/socket.io/?EIO=4&transport=polling&t=abc", "", "", false},
		{"/socket.io/?EIO=4&transport=websocket", "", "realtime.v1", false},
		{"/socket.io/?EIO=4&transport=polling&sid=x", "", "", true},
		{"/socket.io/?EIO=4&transport=polling&sid=", "", "", true},
		{"/socket.io/?EIO=4&transport=polling&Token=x", "", "", true},
		{"/socket.io/?EIO=4&transport=polling&apiKey=x", "", "", true},
		{"/socket.io/?a;b", "", "", true},
		{"/socket.io/?EIO=4", "", "realtime.v1, Bearer.x", true},
		{"/socket.io/?sid=x", "/index.html", "", true},
		{"/socket.io/", "/socket.io/?token=x", "", true},
	} {
		r := caddyhttp.PrepareRequest(httptest.NewRequest("GET", tc.uri, nil), caddy.NewReplacer(), nil, nil)
		if tc.protocol != "" {
			r.Header.Set("Sec-WebSocket-Protocol", tc.protocol)
		}
		if tc.rewritten != "" {
			u, err := url.Parse(tc.rewritten)
			if err != nil {
				t.Fatal(err)
			}
			r.URL = u
		}
		if got := hasSecrets(r); got != tc.want {
			t.Errorf("%s, rewritten to %q, with %q: got %v", tc.uri, tc.rewritten, tc.protocol, got)
		}
	}
}

func TestMetricsGoOnOverAReload(t *testing.T) {
	port := freePort(t)
	for v := range 2 { // counters go on over a reload
		mustLoad(t, quiet(site(port, versioned(v)+"\n metrics /metrics")))
		c := dialWebSocket(t, port, nil)
		join(t, c, "")
		expectAnswer(t, c, "version", fmt.Sprintf("[%d]", v))
	}
	_, _, body := get(t, port, "/metrics")
	for _, line := range []string{
		`caddy_realtime_sessions{hub="",transport="websocket"} 2`,
		`caddy_realtime_sockets{hub=""} 2`,
		`caddy_realtime_events_total{hub=""} 2`,
		`caddy_realtime_panics_total{hub=""} 0`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("%s is missing in:\n%s", line, body)
		}
	}
}
