package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/wsclient"
)

// upload sends n messages of 10 KB.
func upload(w *ws, n int) {
	for i := range n {
		w.send(fmt.Sprintf("4%06d", i) + strings.Repeat("x", 10_000-7))
	}
}

// tally makes the receiver count messages instead of sending them back.
func tally(s *site) (seen chan string) {
	seen = make(chan string, 1<<16)
	s.echo.message = func(_ *engine.Session, _ *engine.Batch, data []byte, _ bool) bool {
		seen <- string(data[:6])
		return true
	}
	return seen
}

// overAll tests what has a reader of its own kind over TCP, TLS and a pipe.
func overAll(t *testing.T, c engine.Config, test func(t *testing.T, s *site)) {
	both(t, c, test)
	t.Run("tls", func(t *testing.T) {
		s, _ := serveTLS(t, c)
		test(t, s)
	})
}

// Who sends more than he may is read more slowly; nothing is lost.
func TestBytesBeyondTheRateAreReadLater(t *testing.T) {
	c := engine.Config{Rates: budget.Rates{budget.Bytes: {PerSecond: 1e6, Burst: 200_000}}}
	overAll(t, c, func(t *testing.T, s *site) {
		seen := tally(s)
		w := s.session()
		began := time.Now()
		go upload(w, 100)
		for i := range 100 {
			if got := <-seen; got != fmt.Sprintf("%06d", i) {
				t.Fatalf("got %s at %d", got, i)
			}
		}
		if d := time.Since(began); d < 700*time.Millisecond || d > 3*time.Second {
			t.Errorf("1 MB took %v", d)
		}
		if s.srv.Stats().Exhausted["bytes"] == 0 {
			t.Error("not counted")
		}
		s.echo.stillOpen(t)
	})
}

// An honest client's pongs lie behind what it uploads; it is no dead one.
func TestUploadOutlivesPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{
			PingInterval: time.Second, PingTimeout: 500 * time.Millisecond,
			Rates: budget.Rates{budget.Bytes: {PerSecond: 100_000, Burst: 10_000}},
		})
		tally(s)
		w := s.session()
		go func() {
			for { // pings
				if _, _, err := wsclient.ReadFrame(w.r); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		upload(w, 200)
		if d := time.Since(began); d < 15*time.Second {
			t.Errorf("2 MB took %v", d)
		}
		s.echo.stillOpen(t)
		s.echo.closed(t, engine.PingTimeout) // it never answered, and has nothing more to say
	})
}

func TestBytesOfOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := crossroads(t, engine.Config{Rates: budget.Rates{budget.Bytes: {PerSecond: 10_000, Burst: 10_000}}})
		seen := tally(s)
		began := time.Now()
		for range 20 { // each what one may, all twice as much
			w := s.open("EIO=4&transport=websocket", "From: 192.0.2.1")
			w.text()
			go upload(w, 2)
		}
		for range 40 {
			<-seen
		}
		if d := time.Since(began); d < 2*time.Second || d > 8*time.Second {
			t.Errorf("400 KB took %v", d)
		}
	})
}

func TestBytesOfPostsAreReadLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{Rates: budget.Rates{budget.Bytes: {PerSecond: 100_000, Burst: 100_000}}})
		seen := tally(s)
		q := s.poller()
		body := "4000000" + strings.Repeat("x", 150_000-7)
		s.expect(s.do("POST", q, body), 200, "ok")
		began := time.Now()
		s.expect(s.do("POST", q, body), 200, "ok")
		if d := time.Since(began); d != 500*time.Millisecond {
			t.Errorf("the second POST took %v", d)
		}
		if len(seen) != 2 {
			t.Errorf("%d messages", len(seen))
		}
		// Who does not wait for the answer breaks the protocol.
		first := s.later("POST", q, body)
		synctest.Wait()
		if a := s.do("POST", q, body); a.status != 400 {
			t.Errorf("a second POST at a time: %d", a.status)
		}
		<-first
		s.echo.closed(t, engine.TransportError)
	})
}

// The same over polling, where the answer to a ping comes behind a POST that
// waits.
func TestPostsOutlivePings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{
			PingInterval: time.Second, PingTimeout: 500 * time.Millisecond,
			Rates: budget.Rates{budget.Bytes: {PerSecond: 100_000, Burst: 100_000}},
		})
		tally(s)
		q := s.poller()
		body := "4000000" + strings.Repeat("x", 500_000-7)
		s.expect(s.do("POST", q, body), 200, "ok")
		ping := s.later("GET", q, "")
		began := time.Now()
		s.expect(s.do("POST", q, body), 200, "ok")
		if d := time.Since(began); d < 3*time.Second {
			t.Errorf("the second POST took %v", d)
		}
		s.expect(<-ping, 200, "2")
		s.expect(s.do("POST", q, "3"), 200, "ok")
		s.echo.stillOpen(t)
	})
}

// A pause delays no end.
func TestPauseDelaysNoClose(t *testing.T) {
	c := engine.Config{Rates: budget.Rates{budget.Bytes: {PerSecond: 1, Burst: 1}}}
	overAll(t, c, func(t *testing.T, s *site) {
		seen := tally(s)
		w := s.session()
		w.send("4a message")
		<-seen
		began := time.Now()
		s.echo.last().Close(engine.ForcedClose)
		w.closes(0)
		if d := time.Since(began); d > time.Second {
			t.Errorf("ended after %v", d)
		}
		s.echo.closed(t, engine.ForcedClose)
	})
}

// A limit that a reload brings holds for those who are there.
func TestUpdatedRateHoldsForOpenSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{})
		seen := tally(s)
		w := s.session()
		s.srv.Update(engine.Config{Rates: budget.Rates{budget.Bytes: {PerSecond: 10_000, Burst: 10_000}}})
		began := time.Now()
		go upload(w, 5)
		for range 5 {
			<-seen
		}
		if d := time.Since(began); d < 2*time.Second {
			t.Errorf("50 KB took %v", d)
		}
	})
}

// Who goes on sending when the session has ended is not read for that: beyond
// its allowance not at all, and its connection is closed all the same.
func TestFloodAfterTheEnd(t *testing.T) {
	c := engine.Config{Rates: budget.Rates{budget.Bytes: {PerSecond: 1000, Burst: 1000}}}
	overAll(t, c, func(t *testing.T, s *site) {
		w := s.session()
		s.echo.last().Close(engine.ForcedClose)
		s.echo.closed(t, engine.ForcedClose)
		if err := w.conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		message, sent := frame(0x81, make([]byte, 10_000)), 0
		for err := error(nil); err == nil && sent < 50_000_000; sent += len(message) {
			_, err = w.conn.Write(message)
		}
		if sent >= 50_000_000 {
			t.Error("all of it is read")
		}
		began := time.Now()
		s.srv.Close()
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("the connection ended after %v", d)
		}
	})
}

// A client that has used up more of anything than it may is read
// later.
func TestSpenderIsReadLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{Rates: budget.Rates{budget.Events: {PerSecond: 1, Burst: 2}}})
		seen := tally(s)
		w := s.session()
		s.echo.last().Spend(nil, budget.Events, 6)
		began := time.Now()
		for range 2 {
			w.send("4 message")
			<-seen
		}
		if d := time.Since(began); d < 3*time.Second || d > 5*time.Second {
			t.Errorf("the second message was read after %v", d)
		}
	})
}
