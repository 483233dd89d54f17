package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
)

var quick = engine.Config{PingInterval: 300 * time.Millisecond, PingTimeout: 200 * time.Millisecond}

func TestWebSocketHeartbeatIsOnTime(t *testing.T) { // E19, E20
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, quick)
		w := s.session()
		began := time.Now()
		w.expect("2")
		if d := time.Since(began); d < 140*time.Millisecond || d > 320*time.Millisecond {
			t.Errorf("first ping after %v", d)
		}
		for range 3 {
			w.send("3")
			began = time.Now()
			w.expect("2")
			if d := time.Since(began); d < 290*time.Millisecond || d > 400*time.Millisecond {
				t.Errorf("ping after %v", d)
			}
		}
		began = time.Now()
		w.closes(0)
		if d := time.Since(began); d < 180*time.Millisecond || d > 300*time.Millisecond {
			t.Errorf("closed after %v", d)
		}
		s.echo.closed(t, engine.PingTimeout)
	})
}

// Over TCP it is the poller that reads, and nothing says how late a busy
// machine is: only the order counts.
func TestWebSocketHeartbeatOverTCP(t *testing.T) {
	s := serve(t, engine.Config{PingInterval: 50 * time.Millisecond, PingTimeout: time.Minute})
	w := s.session()
	for range 3 {
		w.expect("2")
		w.send("3")
	}
	s.echo.stillOpen(t)

	s = serve(t, quick)
	w = s.session()
	w.expect("2")
	w.closes(0) // without a pong
	s.echo.closed(t, engine.PingTimeout)
}

func TestPollingSessionEndsWithoutPongs(t *testing.T) { // E17, E18
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, quick)
		q := s.poller()
		for range 3 {
			s.expect(s.do("GET", q, ""), 200, "2")
			s.expect(s.do("POST", q, "3"), 200, "ok")
		}
		for range 20 { // the moment of the first ping is random
			q = s.poller()
			time.Sleep(500 * time.Millisecond) // exactly interval + timeout
			s.expect(s.do("GET", q, ""), 400, json1)
			s.echo.closed(t, engine.PingTimeout)
			s.echo.closed(t, engine.PingTimeout)
			s.echo.reasons <- engine.PingTimeout
		}
	})
}

// The first packet after a ping prolongs the wait, once.
func TestFirstPacketAfterAPingProlongsTheWaitOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{PingInterval: 10 * time.Second, PingTimeout: 4 * time.Second})
		w := s.session()
		w.expect("2")
		pinged := time.Now()
		for range 2 {
			time.Sleep(3 * time.Second)
			w.send("4a")
			w.expect("4a")
		}
		w.closes(0)
		if d := time.Since(pinged); d < 6900*time.Millisecond || d > 7500*time.Millisecond {
			t.Errorf("closed %v after the ping", d)
		}
	})
}

// An upgrade neither stops nor restarts the heartbeat.
func TestUpgradeKeepsTheHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{PingInterval: 10 * time.Second, PingTimeout: 8 * time.Second})
		q := s.poller()
		time.Sleep(10 * time.Second) // the ping is queued
		w := s.probe(q)
		w.send("5")
		w.expect("2")
		began := time.Now()
		w.closes(0)
		if d := time.Since(began); d > 8500*time.Millisecond {
			t.Errorf("closed after %v", d)
		}
		s.echo.closed(t, engine.PingTimeout)
	})
}

func TestPlainSessionIsPingedByFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{Plain: true, PingInterval: 10 * time.Second, PingTimeout: 5 * time.Second})
		w := s.open("")
		for range 3 {
			if first, p := w.next(); first != 0x89 || len(p) != 0 {
				t.Fatalf("frame %#x", first)
			}
			w.write(frame(0x8a, nil))
		}
		w.next()
		w.closes(0)
		s.echo.closed(t, engine.PingTimeout)
	})
}

func TestSessionThatIsNotEstablishedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &unmoved{closed: make(chan engine.Reason, 1)}
		s := pipeFor(t, h, engine.Config{HandshakeTimeout: 3 * time.Second})
		w := s.session()
		began := time.Now()
		w.closes(0)
		if d := time.Since(began); d < 3*time.Second || d > 4*time.Second {
			t.Errorf("closed after %v", d)
		}
		if r := <-h.closed; r != engine.ForcedClose {
			t.Errorf("reason %q", r)
		}
	})
}

// A passing trouble ends a session after 2 to 5 s, in which it works. Whatever
// else ends it comes first.
func TestCloseSoonEndsTheSessionAfterAPause(t *testing.T) {
	for name, tc := range map[string]struct {
		config engine.Config
		then   func(s *site, w *ws)
		from   time.Duration
		to     time.Duration
		reason engine.Reason
	}{
		"alone":                 {from: 2 * time.Second, to: 5*time.Second + 250*time.Millisecond, reason: engine.ForcedClose},
		"established":           {then: func(s *site, _ *ws) { s.echo.last().Established() }, from: 2 * time.Second, to: 5*time.Second + 250*time.Millisecond, reason: engine.ForcedClose},
		"a short handshake":     {config: engine.Config{HandshakeTimeout: time.Second}, from: 2 * time.Second, to: 5*time.Second + 250*time.Millisecond, reason: engine.ForcedClose},
		"asked for again":       {then: func(s *site, _ *ws) { time.Sleep(time.Second); s.echo.last().CloseSoon() }, from: 2 * time.Second, to: 5*time.Second + 250*time.Millisecond, reason: engine.ForcedClose},
		"closed meanwhile":      {then: func(s *site, _ *ws) { s.echo.last().Close(engine.TransportError) }, reason: engine.TransportError},
		"left meanwhile":        {then: func(_ *site, w *ws) { w.write(frame(0x88, nil)) }, reason: engine.TransportClose},
		"no room for others":    {config: engine.Config{MaxSessions: 1}, reason: engine.ForcedClose},
		"memory is tight":       {config: engine.Config{Memory: 1}, reason: engine.ForcedClose},
		"the server shuts down": {then: func(s *site, _ *ws) { go s.srv.Close() }, reason: engine.ShuttingDown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := pipe(t, engine.Config{HandshakeTimeout: tc.config.HandshakeTimeout})
				w := s.session()
				s.srv.Update(tc.config)
				began := time.Now()
				s.echo.last().CloseSoon()
				if tc.from > 0 {
					w.send("4a")
					w.expect("4a")
				}
				if tc.then != nil {
					tc.then(s, w)
				}
				s.echo.closed(t, tc.reason)
				if took := time.Since(began); took < tc.from || took > tc.to {
					t.Errorf("closed after %s", took)
				}
				if !s.echo.last().Leaving() {
					t.Error("not leaving")
				}
			})
		})
	}
}

// unmoved never calls Established.
type unmoved struct{ closed chan engine.Reason }

func (h *unmoved) Open(*engine.Session) engine.Receiver         { return h }
func (h *unmoved) Message(*engine.Batch, []byte, bool)          {}
func (h *unmoved) Closed(_ *engine.Batch, reason engine.Reason) { h.closed <- reason }

// A frame that is begun must be completed in time, however it trickles.
func TestBegunFrameMustBeCompletedInTime(t *testing.T) {
	for name, start := range map[string][]byte{
		"header":   frame(0x81, []byte("4abc"))[:1],
		"payload":  frame(0x81, make([]byte, 1000))[:20],
		"fragment": frame(0x01, []byte("4")),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := pipe(t, engine.Config{InputTimeout: 5 * time.Second, PingInterval: time.Hour})
				w := s.session()
				w.send("4a") // an idle session has no such limit
				w.expect("4a")
				time.Sleep(time.Minute)
				began := time.Now()
				w.write(start)
				if name == "payload" {
					for range 4 {
						time.Sleep(time.Second)
						w.write([]byte{0})
					}
				}
				if first, _ := w.next(); first != 0x88 {
					t.Errorf("frame %#x", first)
				}
				if d := time.Since(began); d < 5*time.Second || d > 6*time.Second {
					t.Errorf("closed after %v", d)
				}
				s.echo.closed(t, engine.TransportError)
				w.ends()
			})
		})
	}
}

// A stream of messages, none of which ever ends with a read, is no trickle.
func TestStreamIsNoTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{InputTimeout: 2 * time.Second, PingInterval: time.Hour})
		w := s.session()
		f := frame(0x81, []byte("4abcdef"))
		w.write(f[:3])
		for range 10 {
			time.Sleep(time.Second)
			w.write(append(f[3:len(f):len(f)], f[:3]...))
			w.expect("4abcdef")
		}
		s.echo.stillOpen(t)
	})
}

func TestSlowReaderIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{WriteTimeout: 5 * time.Second, PingInterval: time.Hour, Outbox: 1300})
		w := s.session()
		began := time.Now()
		send(s.echo.last(), "a")
		s.echo.closed(t, engine.SlowConsumer)
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("closed after %v", d)
		}
		w.ends()

		// It reads, but too slowly: a byte each second.
		w = s.session()
		began = time.Now()
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for b := make([]byte, 1); ; time.Sleep(time.Second) {
				if _, err := w.conn.Read(b); err != nil {
					return
				}
			}
		}()
		for range 4 {
			send(s.echo.last(), "0123456789")
		}
		s.echo.closed(t, engine.SlowConsumer)
		if d := time.Since(began); d > 11*time.Second {
			t.Errorf("closed after %v", d)
		}
		<-stop

		// Its backlog grows too large.
		w = s.session()
		send(s.echo.last(), "a")
		time.Sleep(time.Second)
		b := engine.NewBatch()
		big := engine.NewFrames(engine.EngineIO, make([]byte, 990), true, nil)
		s.echo.last().SendVolatile(b, big) // not even queued
		s.echo.last().Send(b, big)
		b.Flush()
		synctest.Wait()
		s.echo.stillOpen(t)
		send(s.echo.last(), "0123456789")
		s.echo.closed(t, engine.SlowConsumer)
		w.conn.Close()
	})
}

// A polling client that fetches nothing while something waits for it is slow,
// too, though its session is not due for a ping.
func TestPollingClientThatFetchesNothingIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{PingInterval: time.Hour})
		q := s.poller()
		send(s.echo.last(), "a")
		time.Sleep(14 * time.Second)
		s.expect(s.do("GET", q, ""), 200, "4a")
		time.Sleep(14 * time.Second)
		s.echo.stillOpen(t)
		send(s.echo.last(), "b")
		time.Sleep(16 * time.Second)
		s.echo.closed(t, engine.SlowConsumer)
	})
}
