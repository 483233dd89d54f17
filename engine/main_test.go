package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/siotest"
	"github.com/caddy-realtime/realtime/internal/testenv"
	"github.com/caddy-realtime/realtime/internal/wsclient"
)

// TestMain fails if a goroutine of the engine outlives the tests.
func TestMain(m *testing.M) { testenv.Main(m, "realtime/engine") }

// echo sends every message back and notes what happens.
type echo struct {
	open    func(*engine.Session) // beside what echo does
	message func(s *engine.Session, b *engine.Batch, data []byte, binary bool) bool
	mute    bool

	mu       sync.Mutex
	sessions []*engine.Session
	reasons  chan engine.Reason
}

func newEcho() *echo { return &echo{reasons: make(chan engine.Reason, 1<<16)} }

func (e *echo) Open(s *engine.Session) engine.Receiver {
	e.mu.Lock()
	e.sessions = append(e.sessions, s)
	e.mu.Unlock()
	s.Established()
	if e.open != nil {
		e.open(s)
	}
	return &echoReceiver{e, s}
}

func (e *echo) last() *engine.Session {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sessions[len(e.sessions)-1]
}

func (e *echo) all() []*engine.Session {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.sessions)
}

// closed waits for the next session to close.
func (e *echo) closed(t testing.TB, want engine.Reason) {
	t.Helper()
	select {
	case got := <-e.reasons:
		if got != want {
			t.Fatalf("closed with %q, want %q", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("not closed, want %q", want)
	}
}

func (e *echo) stillOpen(t testing.TB) {
	t.Helper()
	select {
	case got := <-e.reasons:
		t.Fatalf("closed with %q, want it open", got)
	default:
	}
}

type echoReceiver struct {
	e *echo
	s *engine.Session
}

func (r *echoReceiver) Message(b *engine.Batch, data []byte, binary bool) {
	if r.e.message != nil && r.e.message(r.s, b, data, binary) || r.e.mute {
		return
	}
	r.s.Send(b, engine.NewFrames(r.s.Kind(), data, binary, nil))
}

func (r *echoReceiver) Closed(_ *engine.Batch, reason engine.Reason) { r.e.reasons <- reason }

func send(s *engine.Session, text string) {
	b := engine.NewBatch()
	s.Send(b, engine.NewFrames(s.Kind(), []byte(text), false, nil))
	b.Flush()
}

// site is an engine behind real net/http.
type site struct {
	t    testing.TB
	echo *echo
	srv  *engine.Server
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	host string
	http *http.Client
}

// serve serves over TCP.
func serve(t testing.TB, c engine.Config, info ...engine.Info) *site {
	s := &site{t: t, echo: newEcho()}
	s.srv = engine.NewServer(s.echo, c)
	hs := httptest.NewServer(s.handler(info))
	s.host = hs.Listener.Addr().String()
	s.dial = (&net.Dialer{}).DialContext
	s.client()
	t.Cleanup(func() {
		s.srv.Close()
		s.http.CloseIdleConnections()
		hs.Close()
	})
	return s
}

// pipe serves over an in-memory network, for fake time.
func pipe(t testing.TB, c engine.Config) *site {
	e := newEcho()
	s := pipeFor(t, e, c)
	s.echo = e
	return s
}

func pipeFor(t testing.TB, h engine.Handler, c engine.Config) *site {
	s := &site{t: t, host: "mem"}
	s.srv = engine.NewServer(h, c)
	n := siotest.Serve(t, s.handler(nil))
	s.dial = n.Dial
	s.client()
	t.Cleanup(func() {
		s.srv.Close()
		s.http.CloseIdleConnections()
	})
	return s
}

func (s *site) handler(info []engine.Info) http.Handler {
	if len(info) == 0 {
		return s.srv
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.srv.Serve(w, r, info[0]) })
}

func (s *site) client() {
	s.http = &http.Client{Transport: &http.Transport{DialContext: s.dial, MaxIdleConnsPerHost: 100}}
}

type answer struct {
	status int
	header http.Header
	body   string
	last   bool // the server closes the connection
}

// do sends a request; header is "Name: value" pairs.
func (s *site) do(method, query, body string, header ...string) answer {
	s.t.Helper()
	a, err := s.try(context.Background(), method, query, body, header...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, query, err)
	}
	return a
}

func (s *site) try(ctx context.Context, method, query, body string, header ...string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.host+"/engine.io/?"+query, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		r.Header.Set(k, v)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), resp.Close}, err
}

func (s *site) expect(a answer, status int, body string) {
	s.t.Helper()
	if a.status != status || a.body != body {
		s.t.Fatalf("got %d %q, want %d %q", a.status, a.body, status, body)
	}
}

const polling = "EIO=4&transport=polling"

// poller opens a polling session and returns the query of its requests.
func (s *site) poller() (query string) {
	s.t.Helper()
	a := s.do("GET", polling, "")
	if a.status != 200 {
		s.t.Fatalf("handshake: %d %q", a.status, a.body)
	}
	return polling + "&sid=" + sid(s.t, a.body)
}

func sid(t testing.TB, open string) string {
	t.Helper()
	rest, ok := strings.CutPrefix(open, `0{"sid":"`)
	if !ok || len(rest) < 20 {
		t.Fatalf("no handshake: %q", open)
	}
	return rest[:20]
}

// later runs a request in the background.
func (s *site) later(method, query, body string) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		a, err := s.try(context.Background(), method, query, body)
		if err != nil {
			a.body = err.Error()
		}
		c <- a
	}()
	return c
}

// ws is a WebSocket client that sees every frame.
type ws struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	head http.Header
}

// open opens a WebSocket; the answer must be 101.
func (s *site) open(query string, header ...string) *ws {
	s.t.Helper()
	w, status, body := s.upgrade(query, header...)
	if status != http.StatusSwitchingProtocols {
		s.t.Fatalf("upgrade: %d %q", status, body)
	}
	return w
}

func (s *site) upgrade(query string, header ...string) (w *ws, status int, body string) {
	s.t.Helper()
	nc, err := s.dial(context.Background(), "tcp", s.host)
	if err != nil {
		s.t.Fatalf("dial: %v", err)
	}
	s.t.Cleanup(func() { nc.Close() })
	r := bufio.NewReader(nc)
	resp, err := wsclient.Handshake(nc, r, s.host, "/engine.io/?"+query, header...)
	if err != nil {
		s.t.Fatalf("handshake: %v", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		b, _ := io.ReadAll(resp.Body)
		body = string(b)
	}
	return &ws{s.t, nc, r, resp.Header}, resp.StatusCode, body
}

// session opens an Engine.IO session on a WebSocket.
func (s *site) session() *ws {
	s.t.Helper()
	w := s.open("EIO=4&transport=websocket")
	sid(s.t, w.text())
	return w
}

// probe opens a WebSocket for the polling session with query q, and probes it.
func (s *site) probe(q string) *ws {
	s.t.Helper()
	w := s.open(websocketOf(q))
	w.send("2probe")
	w.expect("3probe")
	return w
}

// frame is a masked frame as clients send it.
func frame(first byte, payload []byte) []byte { return wsclient.AppendFrame(nil, first, payload) }

func (w *ws) write(b []byte) {
	w.t.Helper()
	if _, err := w.conn.Write(b); err != nil {
		w.t.Fatalf("write: %v", err)
	}
}

func (w *ws) send(text string) { w.t.Helper(); w.write(frame(0x81, []byte(text))) }

// next reads a frame; op 0 is the end of the connection.
func (w *ws) next() (first byte, payload []byte) {
	w.t.Helper()
	w.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	first, payload, err := wsclient.ReadFrame(w.r)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		w.t.Fatal("nothing came within 30s")
	}
	return first, payload
}

// text reads a text message.
func (w *ws) text() string {
	w.t.Helper()
	first, payload := w.next()
	if first != 0x81 {
		w.t.Fatalf("frame %#x %q, want a text", first, payload)
	}
	return string(payload)
}

func (w *ws) expect(texts ...string) {
	w.t.Helper()
	for _, want := range texts {
		if got := w.text(); got != want {
			w.t.Fatalf("got %.100q, want %.100q", got, want)
		}
	}
}

// closes expects a close frame with the code (0: an empty one), answers it and
// expects the connection to end.
func (w *ws) closes(code uint16) {
	w.t.Helper()
	first, payload := w.next()
	want := []byte{}
	if code != 0 {
		want = binary.BigEndian.AppendUint16(nil, code)
	}
	if first != 0x88 || !bytes.Equal(payload, want) {
		w.t.Fatalf("frame %#x %x, want a close frame %x", first, payload, want)
	}
	// The server may be gone already.
	_, _ = w.conn.Write(frame(0x88, payload))
	w.ends()
}

// ends expects the connection to end without another frame.
func (w *ws) ends() {
	w.t.Helper()
	if first, payload := w.next(); first != 0 {
		w.t.Fatalf("frame %#x %.100q, want the end", first, payload)
	}
}

// newHTTP serves h and returns its address.
func newHTTP(t testing.TB, h http.Handler) string {
	hs := httptest.NewServer(h)
	t.Cleanup(hs.Close)
	return hs.Listener.Addr().String()
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }
