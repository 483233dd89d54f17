package engine_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/engine"
)

// cable is the client's side of a TCP connection below TLS. It sends at once,
// or keeps what TLS writes until it is told.
type cable struct {
	net.Conn
	keeps bool
	kept  bytes.Buffer
}

func (c *cable) Write(p []byte) (int, error) {
	if c.keeps {
		return c.kept.Write(p)
	}
	return c.Conn.Write(p)
}

// release sends n bytes of what is kept; -1: all.
func (c *cable) release(t testing.TB, n int) {
	t.Helper()
	p := c.kept.Bytes()
	if n >= 0 {
		p = c.kept.Next(n)
	}
	if _, err := c.Conn.Write(p); err != nil {
		t.Fatal(err)
	}
}

// serveTLS serves over TLS; cable returns what the last connection runs over.
func serveTLS(t testing.TB, c engine.Config) (s *site, last func() *cable) {
	s = &site{t: t, echo: newEcho()}
	s.srv = engine.NewServer(s.echo, c)
	hs := httptest.NewTLSServer(s.srv)
	t.Cleanup(func() {
		s.srv.Close()
		hs.Close()
	})
	s.host = hs.Listener.Addr().String()
	var line *cable
	s.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		line = &cable{Conn: nc}
		client := tls.Client(line, &tls.Config{InsecureSkipVerify: true})
		return client, client.HandshakeContext(ctx)
	}
	return s, func() *cable { return line }
}

func TestTLSCarriesLargeMessages(t *testing.T) {
	s, _ := serveTLS(t, engine.Config{})
	w := s.session()
	for range 10 {
		text := "4" + strings.Repeat("x", 100_000)
		w.send(text)
		w.expect(text)
	}
	w.send("abc")
	w.closes(0)
	s.echo.closed(t, engine.ParseError)
}

// What TLS sends need not come as it was sent: records in pieces, many in one
// packet, the last with half of the next.
func TestTLSRecordsMayComeInPieces(t *testing.T) {
	s, last := serveTLS(t, still)
	w, line := s.session(), last()
	line.keeps = true
	for piece := 1; piece < 60; piece += 3 {
		w.send("4a")
		w.send("4b" + strings.Repeat("x", 3000))
		w.send("4c")
		for line.kept.Len() > 0 {
			line.release(t, min(piece*piece, line.kept.Len()))
			if piece < 10 {
				runtime.Gosched()
			}
		}
		w.expect("4a", "4b"+strings.Repeat("x", 3000), "4c")
	}
	w.send("4whole")
	w.send("4half")
	line.release(t, line.kept.Len()-5)
	w.expect("4whole")
	line.release(t, -1)
	w.expect("4half")
	s.echo.stillOpen(t)
}

// Frames that come in one packet with the end are told of, and then the end.
func TestFramesBeforeTheEndOfTLSAreRead(t *testing.T) {
	s, last := serveTLS(t, still)
	var mu sync.Mutex
	var got []string
	s.echo.message = func(_ *engine.Session, _ *engine.Batch, data []byte, _ bool) bool {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(data))
		return true
	}
	for range 50 {
		w, line := s.session(), last()
		line.keeps = true
		w.send("4a")
		w.send("4b")
		if err := w.conn.(*tls.Conn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		line.SetWriteDeadline(time.Time{}) // which CloseWrite leaves behind
		line.release(t, -1)
		s.echo.closed(t, engine.TransportClose)
		w.conn.Close()
	}
	if text := strings.Join(got, ""); text != strings.Repeat("ab", 50) {
		t.Errorf("got %q", text)
	}
}

// While nothing comes, nobody waits for it.
func TestIdleTLSHasNoGoroutine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere every connection has a goroutine")
	}
	s, last := serveTLS(t, still)
	w := s.session()
	w.send("4hi")
	w.expect("4hi")
	idle := func() bool { return !strings.Contains(stacks(), "engine.(*conn).read") }
	for end := time.Now().Add(10 * time.Second); !idle(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("a goroutine waits for input:\n%s", stacks())
		}
	}
	last().Close()
	s.echo.closed(t, engine.TransportClose)
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// A client that reads nothing costs itself; the others get everything at once.
func TestSlowTLSClientCostsItselfOnly(t *testing.T) {
	s, _ := serveTLS(t, engine.Config{Outbox: 1 << 20})
	s.echo.mute = true
	slow := s.session()
	other := s.session()
	text := strings.Repeat("x", 100_000)
	sessions := s.echo.all()
	for range 200 {
		b := engine.NewBatch()
		f := engine.NewFrames(engine.EngineIO, []byte(text), false, nil)
		for _, session := range sessions {
			session.Send(b, f)
		}
		b.Flush()
		other.expect("4" + text)
	}
	s.echo.closed(t, engine.SlowConsumer)
	s.echo.stillOpen(t)
	slow.conn.Close()
}

// A deadline that a write leaves behind means nothing when it has passed: who
// hears nothing for longer than a write may take is still there.
func TestPastWriteDeadlineOfTLSMeansNothing(t *testing.T) {
	const writeTimeout = 50 * time.Millisecond
	s, _ := serveTLS(t, engine.Config{WriteTimeout: writeTimeout})
	w := s.session()
	for range 3 {
		w.send("4hi")
		w.expect("4hi")
		<-time.After(3 * writeTimeout)
	}
	s.echo.stillOpen(t)
}
