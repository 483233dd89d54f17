package engine_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
)

// countingStream is a stream's writer that takes everything.
type countingStream struct {
	header http.Header
	status chan int
	writes atomic.Int64
}

func (w *countingStream) Header() http.Header              { return w.header }
func (w *countingStream) WriteHeader(status int)           { w.status <- status }
func (w *countingStream) Write(p []byte) (int, error)      { w.writes.Add(1); return len(p), nil }
func (w *countingStream) Flush()                           {}
func (w *countingStream) SetWriteDeadline(time.Time) error { return nil }

// A client over HTTP/2 or 3 that says nothing, and is told nothing, costs no
// time. (If it did, the time of this test would not pass.)
func TestSilentStreamCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := engine.NewServer(newEcho(), engine.Config{Plain: true, PingInterval: time.Hour})
		bodyR, bodyW := io.Pipe()
		r := httptest.NewRequest("CONNECT", "https://site.example/engine.io/", bodyR)
		r.URL.Path, r.ContentLength = "/engine.io/", -1
		r.Proto, r.ProtoMajor = "websocket", 3
		r.Header.Set("Sec-WebSocket-Version", "13")
		w := &countingStream{header: http.Header{}, status: make(chan int, 1)}
		done := make(chan struct{})
		go func() {
			defer close(done)
			srv.Serve(w, r, engine.Info{})
		}()
		<-w.status
		time.Sleep(time.Second)
		if n := w.writes.Load(); n != 0 {
			t.Errorf("%d writes of nothing", n)
		}
		bodyW.Close()
		<-done
		srv.Close()
	})
}

// Upgrades of sessions whose POST takes long wait for it, and nobody else.
func TestProbeWaitsForThePostOfItsSession(t *testing.T) {
	s := serve(t, still)
	slow := make(chan struct{})
	s.echo.message = func(_ *engine.Session, _ *engine.Batch, data []byte, _ bool) bool {
		if string(data) == "slow" {
			<-slow
		}
		return string(data) == "slow"
	}
	other := s.session()
	var probes []*ws
	var answers []<-chan answer
	for range 2 * max(runtime.GOMAXPROCS(0), 4) { // there are no more workers
		q := s.poller()
		p := s.open(websocketOf(q))
		answers = append(answers, s.later("POST", q, "4slow"))
		probes = append(probes, p)
	}
	for _, p := range probes {
		p.send("2probe")
	}
	for range 100 {
		other.send("4hi")
		other.expect("4hi")
	}
	close(slow)
	for i, p := range probes {
		<-answers[i]
		p.expect("3probe")
	}
}

// What is kept of a handshake is bounded, whatever the server lets through.
func TestHandshakeIsBounded(t *testing.T) {
	s := serve(t, engine.Config{})
	s.do("GET", polling+"&a="+strings.Repeat("%22", 3000)+"&b=2", "", "X-A: 1", "X-Big: "+strings.Repeat("\t\"", 100_000), "X-Z: 2")
	h := s.echo.last().Handshake().JSON
	var fields struct {
		Headers map[string]string
		Query   map[string]string
	}
	if err := json.Unmarshal(h, &fields); err != nil || len(h) > 20<<10 {
		t.Fatalf("%d bytes, %v", len(h), err)
	}
	if fields.Headers["x-a"] != "1" || fields.Headers["x-z"] != "2" || fields.Headers["x-big"] != "" || fields.Query["b"] != "2" {
		t.Errorf("%.300s", h)
	}
}

// Small messages cost more than their bytes.
func TestTinyMessagesFillAnOutbox(t *testing.T) {
	s := serve(t, engine.Config{Outbox: 10_000})
	s.poller()
	for range 200 {
		send(s.echo.last(), "a")
	}
	s.echo.closed(t, engine.SlowConsumer)
}

// Node keeps a pair of the query that net/url drops; what is secret stays out
// of it in any form.
func TestOddQueryIsReadAsByNodeWithoutSecrets(t *testing.T) {
	s := serve(t, engine.Config{})
	s.do("GET", polling+"&a=1;2&b=100%&%zz=%4&c=x+y%2b%C3%A9&d&=e&f=1&f=2&to%6ben=secret&token%=kept&bad=%ff", "")
	var got struct {
		URL   string
		Query map[string]string
	}
	if err := json.Unmarshal(s.echo.last().Handshake().JSON, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"EIO": "4", "transport": "polling", "a": "1;2", "b": "100%", "%zz": "%4", "c": "x y+é", "d": "", "": "e", "f": "2", "token%": "kept", "bad": "\ufffd",
	}
	if !maps.Equal(got.Query, want) {
		t.Errorf("query %q, want %q", got.Query, want)
	}
	if url := "/engine.io/?" + polling + "&a=1;2&b=100%&%zz=%4&c=x+y%2b%C3%A9&d&=e&f=1&f=2&token%=kept&bad=%ff"; got.URL != url {
		t.Errorf("URL %s, want %s", got.URL, url)
	}
}
