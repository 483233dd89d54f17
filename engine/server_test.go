package engine_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
)

func TestOriginsDecideWhoMayConnect(t *testing.T) {
	const host = "site.example:8080"
	for _, tt := range []struct {
		list, origin, fetchSite string
		tls                     bool
		allowed                 bool
		allow                   string // Access-Control-Allow-Origin
	}{
		{"same", "http://site.example:8080", "", false, true, ""},
		{"same", "HTTP://SITE.example:8080", "", false, true, ""},
		{"same", "https://site.example:8080", "", false, false, ""},
		{"same", "https://site.example:8080", "", true, true, ""},
		{"same", "http://site.example", "", false, false, ""},
		{"same", "http://other.example", "", false, false, ""},
		{"same", "null", "", false, false, ""},
		{"same", "http://site.example:8080@evil.io", "", false, false, ""},
		{"same", "ws://site.example:8080", "", false, true, ""},
		{"same", "WSS://site.example:8080", "", true, true, ""},
		{"same", "ws://site.example:8080", "", true, false, ""},
		{"same", "wss://site.example:8080", "", false, false, ""},
		{"same", "http://site.example:8080/", "", false, true, ""},
		{"same", "http://site.example:8080/chat/?room=1", "", false, true, ""},
		{"same", "http://site.example:8080/@evil.io", "", false, true, ""},
		{"same", "http://evil.io/site.example:8080", "", false, false, ""},
		{"same", "http://evil.io/http://site.example:8080", "", false, false, ""},
		{"same", `http://site.example:8080\@evil.io/`, "", false, false, ""},
		{"same", `http://evil.io\@site.example:8080`, "", false, false, ""},
		{"same", "http://evil.io?http://site.example:8080", "", false, false, ""},
		{"same", "http://site.example:8080?", "", false, false, ""},
		{"same", "http://site.example:8080#@evil.io", "", false, false, ""},
		{"same", "http://site.example:8080 http://evil.io", "", false, false, ""},
		{"same", "http:site.example:8080", "", false, false, ""},
		{"same", "site.example:8080", "", false, false, ""},
		{"same", "//site.example:8080", "", false, false, ""},
		{"same", "://site.example:8080", "", false, false, ""},
		{"same", "capacitor://site.example:8080", "", false, false, ""},
		{"same", "file://", "", false, false, ""},
		{"same", "", "", false, true, ""},
		{"same", "", "same-origin", false, true, ""},
		{"same", "", "cross-site", false, false, ""},
		{"*", "https://any.example", "", false, true, "*"},
		{"*", "", "cross-site", false, true, "*"},
		{"*", "null", "", false, true, "*"},
		{"https://example.com", "https://example.com", "", false, true, "https://example.com"},
		{"https://example.com", "https://example.com:443", "", false, true, "https://example.com:443"},
		{"https://example.com", "https://example.com.evil.io", "", false, false, ""},
		{"https://example.com", "https://evil-example.com", "", false, false, ""},
		{"https://example.com", "https://user@example.com", "", false, false, ""},
		{"https://example.com", "https://user:x@example.com/", "", false, false, ""},
		{"https://example.com", "https://example.com@evil.io", "", false, false, ""},
		{"https://example.com", "https://example.com:443@evil.io", "", false, false, ""},
		{"https://example.com", "https://evil.io/@example.com", "", false, false, ""},
		{"https://example.com", "https://evil.io#https://example.com", "", false, false, ""},
		{"https://example.com", "https://example.com%2eevil.io", "", false, false, ""},
		{"https://example.com", "https://example.com:", "", false, false, ""},
		{"https://example.com", "https://example.com:x", "", false, false, ""},
		{"https://example.com", "https://example.com/", "", false, true, "https://example.com/"},
		{"https://example.com", "https://example.com/socket.io/", "", false, true, "https://example.com/socket.io/"},
		{"https://example.com", "wss://example.com", "", false, true, "wss://example.com"},
		{"https://example.com", "ws://example.com", "", false, false, ""},
		{"wss://example.com/", "https://example.com", "", false, true, "https://example.com"},
		{"https://example.com", "https://example.com:8443", "", false, false, ""},
		{"https://example.com", "http://example.com", "", false, false, ""},
		{"https://example.com", "http://site.example:8080", "", false, true, "http://site.example:8080"},
		{"https://example.com", "https://site.example:8080", "", false, false, ""},
		{"https://example.com", "https://site.example:8080", "", true, true, "https://site.example:8080"},
		{"https://example.com", "null", "", false, false, ""},
		{"null", "null", "", false, true, "null"},
		{"null", "http://site.example:8080", "", false, true, "http://site.example:8080"},
		{"null", "null://", "", false, false, ""},
		{"https://example.com null", "null", "", false, true, "null"},
		{"https://example.com same", "http://site.example:8080", "", false, true, "http://site.example:8080"},
		{"https://*.example.com", "https://a.example.com", "", false, true, "https://a.example.com"},
		{"https://*.example.com", "https://a.b.example.com", "", false, true, "https://a.b.example.com"},
		{"https://*.example.com", "https://example.com", "", false, false, ""},
		{"https://*.example.com", "https://.example.com", "", false, false, ""},
		{"https://*.example.com", "https://evil.io/.example.com", "", false, false, ""},
		{"https://*.example.com", "https://evilexample.com", "", false, false, ""},
		{"https://*.example.com", "https://evil.io?.example.com", "", false, false, ""},
		{"https://*.example.com", `https://evil.io\.example.com`, "", false, false, ""},
		{"https://*.example.com", "https://evil.io@a.example.com", "", false, false, ""},
		{"https://*.example.com", "https://a.example.com/", "", false, true, "https://a.example.com/"},
		{"https://*.example.com", "https://a.example.com:444", "", false, false, ""},
		{"https://*.example.com", "https://*.example.com", "", false, false, ""},
		{"https://*.example.com:8443", "https://a.example.com:8443", "", false, true, "https://a.example.com:8443"},
		{"capacitor://localhost", "capacitor://localhost", "", false, true, "capacitor://localhost"},
		{"capacitor://localhost", "capacitor://localhost:80", "", false, false, ""},
		{"capacitor://localhost", "http://localhost", "", false, false, ""},
		{"capacitor://localhost", "ionic://localhost", "", false, false, ""},
		{"capacitor://localhost", "capacitor://localhost.evil.io", "", false, false, ""},
		{"ionic://localhost tauri://localhost", "tauri://localhost", "", false, true, "tauri://localhost"},
		{"tauri://localhost", "https://localhost", "", false, false, ""},
		{"file://", "file://", "", false, true, "file://"},
		{"file://", "file:///android_asset/www/index.html", "", false, true, "file:///android_asset/www/index.html"},
		{"file:///", "file://", "", false, true, "file://"},
		{"file://", "file://evil.io", "", false, false, ""},
		{"file://", "null", "", false, false, ""},
		{"chrome-extension://hpjkanmbpgjdkmmajkdkgigmgnlkpgkm", "chrome-extension://hpjkanmbpgjdkmmajkdkgigmgnlkpgkm", "", false, true, "chrome-extension://hpjkanmbpgjdkmmajkdkgigmgnlkpgkm"},
		{"chrome-extension://hpjkanmbpgjdkmmajkdkgigmgnlkpgkm", "chrome-extension://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "", false, false, ""},
		{"http://[::1]:3000", "http://[::1]:3000", "", false, true, "http://[::1]:3000"},
		{"http://[::1]", "http://[::1]:80", "", false, true, "http://[::1]:80"},
		{"http://[::80]", "http://[:", "", false, false, ""},
	} {
		origins, err := engine.ParseOrigins(strings.Fields(tt.list))
		if err != nil {
			t.Fatalf("%s: %v", tt.list, err)
		}
		srv := engine.NewServer(newEcho(), engine.Config{})
		r := httptest.NewRequest("GET", "http://"+host+"/engine.io/?"+polling, nil)
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		}
		set := func(k, v string) {
			if v != "" {
				r.Header.Set(k, v)
			}
		}
		set("Origin", tt.origin)
		set("Sec-Fetch-Site", tt.fetchSite)
		w := httptest.NewRecorder()
		srv.Serve(w, r, engine.Info{Origins: origins})
		want := http.StatusOK
		if !tt.allowed {
			want = http.StatusForbidden
			if w.Body.String() != json4 {
				t.Errorf("%+v: %s", tt, w.Body)
			}
		}
		if w.Code != want {
			t.Errorf("%+v: %d, want %d", tt, w.Code, want)
		}
		h := w.Header()
		if h.Get("Access-Control-Allow-Origin") != tt.allow {
			t.Errorf("%+v: Access-Control-Allow-Origin %q", tt, h.Get("Access-Control-Allow-Origin"))
		}
		if lists := tt.list != "same" && tt.list != "*"; lists && tt.allowed && h.Get("Vary") != "Origin" {
			t.Errorf("%+v: Vary %q", tt, h.Get("Vary"))
		}
		if credentials := h.Get("Access-Control-Allow-Credentials") == "true"; credentials != (tt.allow != "" && tt.allow != "*") {
			t.Errorf("%+v: credentials %v", tt, credentials)
		}
		srv.Close()
	}
}

func TestMalformedOriginsAreRefused(t *testing.T) {
	for _, list := range []string{
		"example.com", "https://", "https://example.com/path", "https://u@example.com", "https://example.com:", "https://example.com:x",
		"https://a.*.com", "https://*", "https://*.", "https://a*.example.com", "https://example.com?x", "* same", "https://%zz",
		"capacitor://", "file://*.", "1x://host", "://host", "localhost:3000", "https://münchen.example", "chrome-extension://*", "https://[::1", "*://example.com",
	} {
		if o, err := engine.ParseOrigins(strings.Fields(list)); err == nil {
			t.Errorf("%q: %+v, want an error", list, o)
		}
	}
}

func TestForeignOriginIsRefusedEverywhere(t *testing.T) {
	s := serve(t, engine.Config{Plain: true})
	q := s.poller()
	for _, query := range []string{polling, q, "EIO=4"} {
		s.expect(s.do("GET", query, "", "Origin: https://evil.io"), 403, json4)
		s.expect(s.do("POST", query, "4x", "Origin: https://evil.io"), 403, json4)
		s.expect(s.do("OPTIONS", query, "", "Origin: https://evil.io"), 403, json4)
	}
	for _, query := range []string{"EIO=4&transport=websocket", websocketOf(q), ""} {
		if _, status, body := s.upgrade(query, "Origin: https://evil.io"); status != 403 || body != json4 {
			t.Errorf("%s: %d %q", query, status, body)
		}
	}
	s.echo.stillOpen(t)
}

func TestPreflightIsAnsweredWithCORSHeaders(t *testing.T) {
	s := serve(t, engine.Config{}, anyOrigin(t))
	a := s.do("OPTIONS", "anything", "", "Origin: https://a.example", "Access-Control-Request-Headers: x-a, x-b")
	s.expect(a, 204, "")
	for k, v := range map[string]string{
		"Access-Control-Allow-Origin":  "*",
		"Access-Control-Allow-Methods": "GET,HEAD,PUT,PATCH,POST,DELETE",
		"Access-Control-Allow-Headers": "x-a, x-b",
		"Vary":                         "Access-Control-Request-Headers",
	} {
		if a.header.Get(k) != v {
			t.Errorf("%s: %q", k, a.header.Get(k))
		}
	}
	if a := s.do("GET", "EIO=4", ""); a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("error without CORS headers: %v", a.header)
	}
	w := s.open("EIO=4&transport=websocket", "Origin: https://a.example")
	if w.head.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("101 without CORS headers: %v", w.head)
	}
	s = serve(t, engine.Config{}) // no CORS, no preflight
	s.expect(s.do("OPTIONS", polling, ""), 400, json2)
	s.expect(s.do("OPTIONS", s.poller(), ""), 500, "")
}

func TestHandshakeHasWhatNodeHasWithoutSecrets(t *testing.T) {
	s := serve(t, engine.Config{}, engine.Info{RemoteIP: "192.0.2.7", Identity: "ann", Secrets: []string{"j w"}})
	s.do("GET", polling+"&x=1&x=2&j+w=SECRET&j%20w=SECRET&token=SECRET&access_token=SECRET&sid=&pid=SECRET&t%6fken=SECRET&name=a%22b%0A", "",
		"Cookie: SECRET", "Authorization: SECRET", "Proxy-Authorization: SECRET", "X-Forwarded-Uri: /?jw=SECRET", "X-Original-Url: /?jw=SECRET", "User-Agent: test", "X-Two: ü\"")
	h := s.echo.last().Handshake()
	if bytes.Contains(h.JSON, []byte("SECRET")) {
		t.Errorf("secrets in %s", h.JSON)
	}
	if h.RemoteIP != "192.0.2.7" || h.Info.Identity != "ann" {
		t.Errorf("%+v", h)
	}
	var got struct {
		Headers         map[string]string
		Time            string
		Address, URL    string
		Xdomain, Secure *bool
		Issued          int64
		Query           map[string]string
	}
	if err := json.Unmarshal(h.JSON, &got); err != nil {
		t.Fatalf("%s: %v", h.JSON, err)
	}
	if got.Headers["host"] != s.host || got.Headers["user-agent"] != "test" || got.Headers["x-two"] != "ü\"" {
		t.Errorf("headers %v", got.Headers)
	}
	if got.URL != "/engine.io/?"+polling+"&x=1&x=2&name=a%22b%0A" {
		t.Errorf("url %q", got.URL)
	}
	if len(got.Query) != 4 || got.Query["x"] != "2" || got.Query["EIO"] != "4" || got.Query["name"] != "a\"b\n" {
		t.Errorf("query %v", got.Query)
	}
	if *got.Xdomain || *got.Secure || got.Address != "192.0.2.7" {
		t.Errorf("%s", h.JSON)
	}
	at, err := time.Parse("Mon Jan 02 2006 15:04:05 GMT-0700 (Coordinated Universal Time)", got.Time)
	if err != nil || at.Unix() != got.Issued/1000 || time.Since(at) > time.Minute {
		t.Errorf("time %q, issued %d: %v", got.Time, got.Issued, err)
	}
	if cap(h.JSON) > len(h.JSON)+len(h.JSON)/4 {
		t.Errorf("%d bytes in %d", len(h.JSON), cap(h.JSON))
	}
}

func TestSessionsBeyondTheLimitAreRefused(t *testing.T) {
	s := serve(t, engine.Config{MaxSessions: 2})
	s.session()
	w := s.session()
	a := s.do("GET", polling, "")
	if a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if _, status, _ := s.upgrade("EIO=4&transport=websocket"); status != 503 {
		t.Errorf("upgrade: %d", status)
	}
	w.conn.Close()
	s.echo.closed(t, engine.TransportClose)
	s.poller()
	if st := s.srv.Stats(); st.Sessions != 2 || st.Polling != 1 || st.WebSocket != 1 || st.Closed[engine.TransportClose] != 1 {
		t.Errorf("%+v", st)
	}
}

func TestUpdateCountsFromTheNextHandshake(t *testing.T) {
	s := serve(t, engine.Config{MaxPayload: 100})
	w := s.session()
	s.srv.Update(engine.Config{MaxPayload: 10, PingInterval: time.Second})
	w.send("4" + strings.Repeat("x", 50)) // keeps what it was told
	w.text()
	if a := s.do("GET", polling, ""); !strings.HasSuffix(a.body, `"pingInterval":1000,"pingTimeout":20000,"maxPayload":10}`) {
		t.Errorf("%q", a.body)
	}
}

// A panic costs the session that it came from, and nobody else.
func TestPanicCostsItsSessionOnly(t *testing.T) {
	var logged syncBuffer
	s := serve(t, engine.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	s.echo.message = func(_ *engine.Session, _ *engine.Batch, data []byte, _ bool) bool {
		if string(data) == "panic" {
			panic("on purpose")
		}
		return false
	}
	bystander := s.session()
	for range 3 {
		w := s.session()
		w.send("4panic")
		w.closes(0)
		s.echo.closed(t, engine.TransportError)
	}
	q := s.poller()
	s.do("POST", q, "4panic")
	s.echo.closed(t, engine.TransportError)
	s.echo.open = func(*engine.Session) { panic("on purpose") }
	if a := s.do("GET", polling, ""); a.status != 503 {
		t.Errorf("%d", a.status)
	}
	bystander.send("4fine")
	bystander.expect("4fine")
	if st := s.srv.Stats(); st.Panics != 5 || st.Sessions != 1 {
		t.Errorf("%+v", st)
	}
	if n := strings.Count(logged.String(), "on purpose"); n != 2 {
		t.Errorf("logged %d times, want once a place:\n%s", n, logged.String())
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// streamWriter is what a handler gets for a WebSocket over HTTP/2 or 3.
type streamWriter struct {
	header http.Header
	status chan int
	out    *io.PipeWriter
}

func (w *streamWriter) Header() http.Header              { return w.header }
func (w *streamWriter) WriteHeader(status int)           { w.status <- status }
func (w *streamWriter) Write(p []byte) (int, error)      { return w.out.Write(p) }
func (w *streamWriter) Flush()                           {}
func (w *streamWriter) SetWriteDeadline(time.Time) error { return nil }

// streamConn is the client's end.
type streamConn struct {
	net.Conn
	in  *io.PipeWriter
	out *io.PipeReader
}

func (c *streamConn) Read(p []byte) (int, error)      { return c.out.Read(p) }
func (c *streamConn) Write(p []byte) (int, error)     { return c.in.Write(p) }
func (c *streamConn) SetReadDeadline(time.Time) error { return nil }

// WebSockets over HTTP/2 (RFC 8441) and HTTP/3 (RFC 9220).
func TestWebSocketsOverHTTP2And3(t *testing.T) {
	for name, mark := range map[string]func(r *http.Request){
		"h2": func(r *http.Request) {
			r.Proto, r.ProtoMajor = "HTTP/2.0", 2
			r.Header[":protocol"] = []string{"websocket"}
		},
		"h3": func(r *http.Request) { r.Proto, r.ProtoMajor = "websocket", 3 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEcho()
				srv := engine.NewServer(e, engine.Config{Plain: true})
				defer srv.Close()
				bodyR, bodyW := io.Pipe()
				outR, outW := io.Pipe()
				r := httptest.NewRequest("CONNECT", "https://site.example/engine.io/?x=1", bodyR)
				r.URL.Path, r.ContentLength = "/engine.io/", -1
				mark(r)
				r.Header.Set("Sec-WebSocket-Version", "13")
				r.Header.Set("Sec-WebSocket-Protocol", "realtime.v1")
				w := &streamWriter{http.Header{}, make(chan int, 1), outW}
				returned := make(chan struct{})
				go func() {
					defer close(returned)
					srv.Serve(w, r, engine.Info{})
					outW.Close()
				}()
				if status := <-w.status; status != 200 {
					t.Fatalf("status %d", status)
				}
				if p := w.header.Get("Sec-WebSocket-Protocol"); p != "realtime.v1" {
					t.Errorf("protocol %q", p)
				}
				c := &ws{t: t, conn: &streamConn{in: bodyW, out: outR}}
				c.r = newReader(outR)
				c.send("hello")
				c.expect("hello")
				synctest.Wait()
				select {
				case <-returned:
					t.Fatal("Serve returned")
				default:
				}
				if h := e.last().Handshake().JSON; bytes.Contains(h, []byte(":protocol")) || bytes.Contains(h, []byte("sec-websocket-key")) {
					t.Errorf("handshake %s", h)
				}
				c.write(frame(0x88, []byte{0x03, 0xe8}))
				if first, p := c.next(); first != 0x88 || string(p) != "\x03\xe8" {
					t.Errorf("frame %#x %x", first, p)
				}
				<-returned
				e.closed(t, engine.TransportClose)
			})
		})
	}
	srv := engine.NewServer(newEcho(), engine.Config{})
	w := httptest.NewRecorder()
	r := httptest.NewRequest("CONNECT", "https://site.example/engine.io/", nil)
	r.Header[":protocol"] = []string{"connect-udp"}
	srv.ServeHTTP(w, r)
	if w.Code != http.StatusNotImplemented {
		t.Errorf("status %d", w.Code)
	}
}

// A request whose answer panics is cut off, not answered with nothing; others
// do that on purpose, which is no panic of ours.
func TestRequestsAreAborted(t *testing.T) {
	for _, test := range []struct {
		cause   any
		counted uint64
	}{
		{http.ErrAbortHandler, 0},
		{"on purpose", 1},
	} {
		s := serve(t, engine.Config{})
		w := panicker{httptest.NewRecorder(), test.cause}
		r := httptest.NewRequest("GET", "/engine.io/?"+polling, nil)
		func() {
			defer func() {
				if got := recover(); got != http.ErrAbortHandler {
					t.Errorf("after %v the request ended with %v", test.cause, got)
				}
			}()
			s.srv.ServeHTTP(w, r)
		}()
		if got := s.srv.Stats().Panics; got != test.counted {
			t.Errorf("after %v: %d panics", test.cause, got)
		}
	}
}

// panicker is an answer that cannot be written.
type panicker struct {
	http.ResponseWriter
	cause any
}

func (p panicker) Write([]byte) (int, error) { panic(p.cause) }
