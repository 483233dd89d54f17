package engine_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
)

func anyOrigin(t testing.TB) engine.Info {
	o, err := engine.ParseOrigins([]string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	return engine.Info{Origins: o}
}

func TestPollingHandshakeAnnouncesTheSettings(t *testing.T) {
	s := serve(t, engine.Config{PingInterval: 300 * time.Millisecond, PingTimeout: 200 * time.Millisecond}, anyOrigin(t))
	a := s.do("GET", polling, "")
	want := regexp.MustCompile(`^0\{"sid":"[A-Za-z0-9_-]{20}","upgrades":\["websocket"\],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000\}$`)
	if a.status != 200 || !want.MatchString(a.body) {
		t.Fatalf("%d %q", a.status, a.body)
	}
	for k, v := range map[string]string{
		"Content-Type": "text/plain; charset=UTF-8", "Cache-Control": "no-store",
		"Content-Length": fmt.Sprint(len(a.body)), "Access-Control-Allow-Origin": "*",
	} {
		if a.header.Get(k) != v {
			t.Errorf("%s: %q, want %q", k, a.header.Get(k), v)
		}
	}
}

const (
	json0 = `{"code":0,"message":"Transport unknown"}`
	json1 = `{"code":1,"message":"Session ID unknown"}`
	json2 = `{"code":2,"message":"Bad handshake method"}`
	json3 = `{"code":3,"message":"Bad request"}`
	json4 = `{"code":4,"message":"Forbidden"}`
	json5 = `{"code":5,"message":"Unsupported protocol version"}`
)

// Engine.IO v4, section Errors; also the cases E2 to E7 of the official suite.
func TestPollingErrorsHaveTheProtocolsCodes(t *testing.T) {
	s := serve(t, engine.Config{})
	session := s.poller()
	for _, tt := range []struct {
		method, query string
		status        int
		body          string
	}{
		{"GET", "EIO=4", 400, json0},
		{"GET", "EIO=4&transport=abc", 400, json0},
		{"GET", "EIO=4&transport=webtransport", 400, json0},
		{"GET", "transport=polling", 400, json5},
		{"GET", "EIO=abc&transport=polling", 400, json5},
		{"GET", "EIO=3&transport=polling", 400, json5},
		{"GET", "EIO=3&EIO=4&transport=polling&sid=", 200, ""},
		{"POST", polling, 400, json2},
		{"PUT", polling, 400, json2},
		{"GET", "EIO=4&transport=websocket", 400, json3},
		{"GET", polling + "&sid=unknown", 400, json1},
		{"POST", polling + "&sid=unknown", 400, json1},
		{"GET", strings.Replace(session, "polling", "websocket", 1), 400, json3},
		{"GET", strings.Replace(session, "EIO=4", "EIO=3", 1), 400, json3},
		{"PUT", session, 500, ""},
		{"DELETE", session, 500, ""},
		{"POST", session, 200, "ok"},
	} {
		a := s.do(tt.method, tt.query, "3")
		if a.status != tt.status || tt.body != "" && a.body != tt.body {
			t.Errorf("%s %s: %d %q, want %d %q", tt.method, tt.query, a.status, a.body, tt.status, tt.body)
		}
		if strings.HasPrefix(tt.body, "{") && a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: content type %q", tt.method, tt.query, a.header.Get("Content-Type"))
		}
	}
	s.echo.stillOpen(t)
}

func TestUpgradeErrorsArePlainText(t *testing.T) {
	s := serve(t, engine.Config{})
	session := strings.Replace(s.poller(), "polling", "websocket", 1)
	for _, tt := range []struct {
		query string
		body  string
		extra string
	}{
		{"EIO=4", "Transport unknown", ""},
		{"EIO=4&transport=abc", "Transport unknown", ""},
		{"transport=websocket", "Unsupported protocol version", ""},
		{"EIO=3&transport=websocket", "Unsupported protocol version", ""},
		{"EIO=4&transport=websocket&sid=unknown", "Session ID unknown", ""},
		{strings.Replace(session, "EIO=4", "EIO=5", 1), "Bad request", ""},
		{"EIO=4&transport=websocket", "Bad request", "Content-Length: 5"},
		{"EIO=4&transport=websocket", "Bad request", "Transfer-Encoding: chunked"},
		{session, "Bad request", "Content-Length: 5"},
	} {
		header := []string{"X-Test: 1"}
		if tt.extra != "" {
			header = append(header, tt.extra)
		}
		_, status, body := s.upgrade(tt.query, header...)
		if status != 400 || body != tt.body {
			t.Errorf("%s %s: %d %q, want 400 %q", tt.query, tt.extra, status, body, tt.body)
		}
	}
	s.echo.stillOpen(t)
}

func TestTransportThatIsOffIsUnknown(t *testing.T) {
	s := serve(t, engine.Config{NoWebSocket: true})
	if a := s.do("GET", polling, ""); !strings.Contains(a.body, `"upgrades":[]`) {
		t.Errorf("handshake %q", a.body)
	}
	if _, status, body := s.upgrade("EIO=4&transport=websocket"); status != 400 || body != json0 {
		t.Errorf("%d %q", status, body)
	}
	s = serve(t, engine.Config{NoPolling: true})
	s.expect(s.do("GET", polling, ""), 400, json0)
	s.session()
}

// Engine.IO v4, section HTTP long-polling; E8 to E11.
func TestPollingCarriesPayloadsBothWays(t *testing.T) {
	s := serve(t, engine.Config{})
	for _, payload := range []string{"4hello", "4a\x1e4b\x1e4c", "4hello\x1ebAQIDBA==", "4\x1e4ü", "b", "4" + strings.Repeat("x", 999_998)} {
		q := s.poller()
		a := s.do("POST", q, payload, "Content-Type: text/plain;charset=UTF-8")
		s.expect(a, 200, "ok")
		if a.header.Get("Content-Type") != "text/html" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", a.header)
		}
		s.expect(s.do("GET", q, ""), 200, payload)
	}
	// Node decodes base64 leniently.
	q := s.poller()
	s.expect(s.do("POST", q, "b--__AQ\x1eb++//AQ=="), 200, "ok")
	s.expect(s.do("GET", q, ""), 200, "b++//AQ==\x1eb++//AQ==")
}

func TestFaultyPayloadEndsThePollingSession(t *testing.T) {
	for _, tt := range []struct {
		name, payload, contentType string
		status                     int
		body, pending              string
		reason                     engine.Reason
	}{
		{"unknown packet", "abc", "", 200, "ok", "1", engine.ParseError},
		{"empty", "", "", 200, "ok", "1", engine.ParseError},
		{"trailing separator", "40\x1e", "", 200, "ok", "40", engine.ParseError},
		{"base64", "b!!", "", 200, "ok", "1", engine.ParseError},
		{"ping", "2", "", 200, "ok", "1", engine.TransportError},
		{"close", "1\x1e4ignored", "", 200, "ok", "6", engine.TransportClose},
		{"binary body", "4a", "application/octet-stream", 400, "", "1", engine.TransportError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := pipe(t, engine.Config{})
				q := s.poller()
				pending := s.later("GET", q, "")
				synctest.Wait()
				s.expect(s.do("POST", q, tt.payload, "Content-Type: "+tt.contentType), tt.status, tt.body)
				s.expect(<-pending, 200, tt.pending)
				s.echo.closed(t, tt.reason)
				s.expect(s.do("GET", q, ""), 400, json1)
				s.expect(s.do("POST", q, "4a"), 400, json1)
			})
		})
	}
}

// A GET that crosses the POST with the close packet gets what it would have
// got in the other order. After both the session is unknown.
func TestPollThatCrossesACloseIsAnsweredAsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{})
		q := s.poller()
		closing := s.later("POST", q, "1")
		synctest.Wait() // the POST was taken first
		s.echo.closed(t, engine.TransportClose)
		s.expect(s.do("POST", q, "4a"), 400, "")
		s.expect(s.do("GET", q, ""), 200, "6")
		s.expect(<-closing, 200, "ok")
		s.expect(s.do("GET", q, ""), 400, json1)
		s.expect(s.do("POST", q, "4a"), 400, json1)

		// What is queued goes first.
		q = s.poller()
		send(s.echo.last(), "last")
		closing = s.later("POST", q, "1")
		synctest.Wait()
		s.expect(s.do("GET", q, ""), 200, "4last")
		s.expect(<-closing, 200, "ok")
		s.expect(s.do("GET", q, ""), 400, json1)

		// No GET was on its way.
		q = s.poller()
		began := time.Now()
		s.expect(s.do("POST", q, "1"), 200, "ok")
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("the POST waited for %v", waited)
		}
		s.expect(s.do("GET", q, ""), 400, json1)
	})
}

// The stock client's estimate of base64 is a little low: a body of several
// packets may be a hundredth longer than a message.
func TestPostMayExceedTheLimitByTheEstimatesError(t *testing.T) {
	s := serve(t, engine.Config{MaxPayload: 1000})
	q := s.poller()
	binary := "b" + strings.Repeat("AAAA", 250) // 750 bytes
	for _, body := range []string{"4" + strings.Repeat("x", 999), binary, "4x\x1e" + binary, binary + "\x1e4" + strings.Repeat("x", 6)} {
		s.expect(s.do("POST", q, body), 200, "ok")
		s.expect(s.do("GET", q, ""), 200, body)
	}
	s.expect(s.do("POST", s.poller(), binary+"\x1e4"+strings.Repeat("x", 8)), 413, "")
	s.expect(s.do("POST", s.poller(), "4x\x1e4"+strings.Repeat("x", 1000)), 413, "")
}

func TestPostBeyondTheLimitIsRefused(t *testing.T) {
	s := serve(t, engine.Config{MaxPayload: 1000})
	q := s.poller()
	s.expect(s.do("POST", q, "4"+strings.Repeat("x", 1000)), 413, "")
	// The same without an announced length.
	r, _ := http.NewRequest("POST", "http://"+s.host+"/engine.io/?"+q, struct{ *strings.Reader }{strings.NewReader("4" + strings.Repeat("x", 5000))})
	r.ContentLength = -1
	resp, err := s.http.Do(r)
	if err != nil || resp.StatusCode != 413 {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
	s.expect(s.do("POST", q, "4"+strings.Repeat("x", 999)), 200, "ok")
	s.echo.stillOpen(t)
}

func TestOverlappingGetsEndTheSession(t *testing.T) { // E12
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{})
		q := s.poller()
		first := s.later("GET", q, "")
		synctest.Wait()
		s.expect(s.do("GET", q, ""), 400, "")
		s.expect(<-first, 200, "1")
		s.echo.closed(t, engine.TransportError)
		s.expect(s.do("GET", q, ""), 400, json1)
	})
}

func TestAbortedGetEndsTheSession(t *testing.T) { // E13
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{})
		q := s.poller()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.try(ctx, "GET", q, "")
		}()
		synctest.Wait()
		cancel()
		<-done
		s.echo.closed(t, engine.TransportError)
		s.expect(s.do("GET", q, ""), 400, json1)
	})
}

// slowPost begins a POST whose body does not end.
func (s *site) slowPost(q string) *ws {
	nc, err := s.dial(s.t.Context(), "tcp", s.host)
	if err != nil {
		s.t.Fatal(err)
	}
	w := &ws{t: s.t, conn: nc}
	w.write([]byte("POST /engine.io/?" + q + " HTTP/1.1\r\nHost: " + s.host + "\r\nContent-Length: 10\r\n\r\n4abc"))
	return w
}

func TestOverlappingPostsEndTheSession(t *testing.T) { // E26
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{})
		q := s.poller()
		first := s.slowPost(q)
		synctest.Wait()
		s.expect(s.do("POST", q, "4x"), 400, "")
		s.echo.closed(t, engine.TransportError)
		if n, err := first.conn.Read(make([]byte, 1)); err == nil {
			t.Fatalf("read %d, want the end", n)
		}
	})
}

func TestAbortedPostEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{})
		q := s.poller()
		w := s.slowPost(q)
		synctest.Wait()
		w.conn.Close()
		s.echo.closed(t, engine.TransportError)
		s.expect(s.do("GET", q, ""), 400, json1)
	})
}

func TestSlowPostEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{InputTimeout: time.Second})
		q := s.poller()
		began := time.Now()
		w := s.slowPost(q)
		defer w.conn.Close()
		s.echo.closed(t, engine.TransportError)
		if d := time.Since(began); d != time.Second {
			t.Errorf("closed after %v", d)
		}
	})
}

// Engine.IO v4, section Closing.
func TestCloseAnswersTheWaitingPoll(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, s *site, q string){
		"pending": func(t *testing.T, s *site, q string) {
			pending := s.later("GET", q, "")
			synctest.Wait()
			s.echo.last().Close(engine.ForcedClose)
			s.expect(<-pending, 200, "1")
			s.echo.closed(t, engine.ForcedClose)
		},
		"queued": func(t *testing.T, s *site, q string) {
			send(s.echo.last(), "bye")
			s.echo.last().Close(engine.ForcedClose)
			s.echo.closed(t, engine.ForcedClose)
			s.expect(s.do("POST", q, "4dropped"), 200, "ok")
			s.expect(s.do("GET", q, ""), 200, "4bye")
			s.expect(s.do("GET", q, ""), 200, "6\x1e1")
			synctest.Wait()
		},
		"never fetched": func(t *testing.T, s *site, q string) {
			s.echo.last().Close(engine.ForcedClose)
			s.echo.closed(t, engine.ForcedClose)
			time.Sleep(31 * time.Second)
			synctest.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := pipe(t, engine.Config{})
				q := s.poller()
				test(t, s, q)
				s.expect(s.do("GET", q, ""), 400, json1)
				if n := s.srv.Stats().Sessions; n != 0 {
					t.Errorf("%d sessions left", n)
				}
			})
		})
	}
}

// What is sent before the handshake is answered comes with it.
func TestMessageSentInOpenComesWithTheHandshake(t *testing.T) {
	s := serve(t, engine.Config{})
	s.echo.open = func(s *engine.Session) { send(s, "welcome") }
	if a := s.do("GET", polling, ""); !strings.HasSuffix(a.body, "}\x1e4welcome") {
		t.Errorf("%q", a.body)
	}
	w := s.session()
	w.expect("4welcome")
}

func TestPollingBacklogIsBounded(t *testing.T) {
	s := serve(t, engine.Config{Outbox: 1000})
	q := s.poller()
	big := strings.Repeat("x", 5000)
	send(s.echo.last(), big) // one message always fits
	b := engine.NewBatch()
	s.echo.last().SendVolatile(b, engine.NewFrames(engine.EngineIO, []byte("gone"), false, nil))
	b.Flush()
	s.expect(s.do("GET", q, ""), 200, "4"+big)
	send(s.echo.last(), "a")
	send(s.echo.last(), big)
	s.echo.closed(t, engine.SlowConsumer)
	s.expect(s.do("GET", q, ""), 400, json1)
}

func TestSessionServesItsOriginAndIdentityOnly(t *testing.T) {
	o, err := engine.ParseOrigins([]string{"https://a.example", "https://b.example"})
	if err != nil {
		t.Fatal(err)
	}
	e := newEcho()
	srv := engine.NewServer(e, engine.Config{})
	s := &site{t: t, echo: e, srv: srv}
	hs := newHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		srv.Serve(w, r, engine.Info{Origins: o, Identity: r.Header.Get("X-User")})
	}))
	s.host, s.http = hs, http.DefaultClient
	t.Cleanup(srv.Close)
	a := s.do("GET", polling, "", "Origin: https://a.example", "X-User: ann")
	q := polling + "&sid=" + sid(t, a.body)
	s.expect(s.do("POST", q, "4x", "Origin: https://b.example", "X-User: ann"), 400, json1)
	s.expect(s.do("POST", q, "4x", "Origin: https://a.example", "X-User: bob"), 400, json1)
	s.expect(s.do("POST", q, "4x", "X-User: ann"), 400, json1)
	s.expect(s.do("POST", q, "4x", "Origin: https://evil.example", "X-User: ann"), 403, json4)
	for _, same := range []string{"https://a.example", "https://a.example:443", "wss://a.example", "https://a.example/page"} {
		s.expect(s.do("POST", q, "4x", "Origin: "+same, "X-User: ann"), 200, "ok")
	}

	// A page of the site itself: no Origin in GET.
	q = polling + "&sid=" + sid(t, s.do("GET", polling, "").body)
	s.expect(s.do("POST", q, "4x", "Origin: https://a.example"), 200, "ok")
	s.expect(s.do("GET", q, ""), 200, "4x")
	s.expect(s.do("POST", q, "4x", "Origin: wss://a.example"), 200, "ok")
	s.expect(s.do("POST", q, "4x", "Origin: https://b.example"), 400, json1)
}
