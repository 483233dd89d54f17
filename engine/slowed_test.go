package engine_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
)

// events is a configuration with a limit of events, which metered counts.
func events(perSecond, burst float64) engine.Config {
	return engine.Config{Rates: budget.Rates{budget.Events: {PerSecond: perSecond, Burst: burst}}}
}

// metered makes every message an event, and tells of each.
func metered(s *site) (seen chan string) {
	seen = make(chan string, 1<<16)
	s.echo.message = func(s *engine.Session, b *engine.Batch, data []byte, _ bool) bool {
		s.Spend(b, budget.Events, 1)
		seen <- string(data)
		return true
	}
	return seen
}

func inOrder(t *testing.T, seen chan string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if got := <-seen; got != fmt.Sprint(i) {
			t.Fatalf("got %s at %d", got, i)
		}
	}
}

// numbered are messages in one piece.
func numbered(from, to int) (frames []byte) {
	for i := from; i < to; i++ {
		frames = append(frames, frame(0x81, fmt.Appendf(nil, "4%d", i))...)
	}
	return frames
}

// Messages that were read together, of which only some may be handled at once,
// are all handled, in order; what waits is counted as memory.
func TestMessagesReadTogetherWaitForTheirTurn(t *testing.T) {
	c := events(200, 100)
	c.UsedMemory = new(budget.Memory)
	overAll(t, c, func(t *testing.T, s *site) {
		seen := metered(s)
		w := s.session()
		began := time.Now()
		w.write(numbered(0, 300))
		inOrder(t, seen, 0, 101)
		if n := used(c.UsedMemory, budget.Input); n == 0 {
			t.Error("what waits is not counted")
		}
		inOrder(t, seen, 101, 300)
		if d := time.Since(began); d < 950*time.Millisecond || d > 5*time.Second {
			t.Errorf("300 events took %v", d)
		}
		w.write(numbered(300, 301))
		inOrder(t, seen, 300, 301)
		if s.srv.Stats().Exhausted["events"] == 0 {
			t.Error("not counted")
		}
		s.echo.stillOpen(t)
	})
	if n := used(c.UsedMemory, budget.Input); n != 0 {
		t.Errorf("%d bytes of input are left", n)
	}
}

// A client that has to wait is pinged at every interval, without which it would
// leave. It is not missed as long as it is not read, and after that as ever.
func TestSlowedClientIsPingedAtEveryInterval(t *testing.T) {
	const interval, timeout = 10 * time.Second, 4 * time.Second
	for _, plain := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := events(1, 10)
			c.PingInterval, c.PingTimeout, c.Plain = interval, timeout, plain
			s := pipe(t, c)
			metered(s)
			query, ping, pong, text := "EIO=4&transport=websocket", "\x812", frame(0x81, []byte("3")), "4a"
			if plain {
				query, ping, pong, text = "", "\x89", frame(0x8a, nil), "a"
			}
			w := s.open(query)
			if !plain {
				w.text()
			}
			s.echo.last().Spend(nil, budget.Events, 200) // three minutes' worth
			answers := make(chan []byte, 100)
			go func() {
				for a := range answers { // which wait to be read
					if _, err := w.conn.Write(a); err != nil {
						return
					}
				}
			}()
			last := time.Now()
			for range 20 { // and so does the next
				first, payload := w.next()
				if got := string([]byte{first}) + string(payload); got != ping[:1]+ping[1:] && !(plain && first == 0x89) {
					t.Fatalf("got %q", got)
				}
				if d := time.Since(last); d > interval+timeout {
					t.Fatalf("no ping for %v", d)
				}
				last = time.Now()
				answers <- pong
				answers <- frame(0x81, []byte(text))
			}
			s.echo.stillOpen(t)
			close(answers)
			s.echo.closed(t, engine.PingTimeout) // it answers no more, and nothing of it is left to read
			w.conn.Close()
		})
	}
}

// A client that has died is found when what it sent is read.
func TestDeadClientThatWasSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := events(1, 10)
		c.PingInterval, c.PingTimeout = 10*time.Second, 4*time.Second
		s := pipe(t, c)
		metered(s)
		w := s.session()
		w.conn.SetReadDeadline(time.Time{})
		go io.Copy(io.Discard, w.conn) // as its kernel does for it
		began := time.Now()
		w.write(numbered(0, 70))
		time.Sleep(time.Minute)
		s.echo.stillOpen(t)
		s.echo.closed(t, engine.PingTimeout)
		if d := time.Since(began); d > 85*time.Second {
			t.Errorf("found after %v", d)
		}
	})
}

// The end of a session does not wait for messages that do, and none of them is
// handled after it.
func TestCloseWhileMessagesWait(t *testing.T) {
	overAll(t, events(1, 10), func(t *testing.T, s *site) {
		seen := metered(s)
		w := s.session()
		w.write(numbered(0, 100))
		inOrder(t, seen, 0, 11)
		began := time.Now()
		s.echo.last().Close(engine.ForcedClose)
		w.closes(0)
		s.echo.closed(t, engine.ForcedClose)
		if d := time.Since(began); d > time.Second {
			t.Errorf("ended after %v", d)
		}
		if len(seen) > 1 {
			t.Errorf("%d messages were handled after the end", len(seen))
		}
	})
}

// What a client sent before it closed is handled, each message in its turn.
func TestClientClosesWhileMessagesWait(t *testing.T) {
	overAll(t, events(100, 10), func(t *testing.T, s *site) {
		seen := metered(s)
		w := s.session()
		w.write(append(numbered(0, 60), frame(0x88, nil)...))
		inOrder(t, seen, 0, 60)
		s.echo.closed(t, engine.TransportClose)
	})
}

func TestConnectionEndsWhileMessagesWait(t *testing.T) {
	overAll(t, events(100, 10), func(t *testing.T, s *site) {
		seen := metered(s)
		w := s.session()
		w.write(numbered(0, 60))
		inOrder(t, seen, 0, 11)
		w.conn.Close()
		s.echo.closed(t, engine.TransportClose)
	})
}

// A client that may not be read before its time to join is over is not closed.
func TestSlowedClientHasTimeToJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := events(1, 10)
		c.HandshakeTimeout, c.PingInterval = 5*time.Second, time.Hour
		h := &unmoved{closed: make(chan engine.Reason, 1)}
		s := pipeFor(t, &opener{h, func(s *engine.Session) { s.Spend(nil, budget.Events, 30) }}, c)
		w := s.session()
		began := time.Now()
		w.send("4a") // is not its CONNECT
		w.closes(0)
		if d := time.Since(began); d < 25*time.Second || d > 30*time.Second {
			t.Errorf("closed after %v", d)
		}
	})
}

type opener struct {
	engine.Handler
	opened func(*engine.Session)
}

func (o *opener) Open(s *engine.Session) engine.Receiver {
	o.opened(s)
	return o.Handler.Open(s)
}

// A POST with more messages than a client may send is answered when all of them
// are handled; pings reach the client meanwhile.
func TestPostIsAnsweredWhenItsMessagesAreHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := events(1, 10)
		c.PingInterval, c.PingTimeout = 10*time.Second, 4*time.Second
		s := pipe(t, c)
		seen := metered(s)
		q := s.poller()
		began := time.Now()
		answer := s.later("POST", q, payload(0, 60))
		for range 4 {
			s.expect(s.do("GET", q, ""), 200, "2")
		}
		s.expect(<-answer, 200, "ok")
		if d := time.Since(began); d < 48*time.Second || d > 51*time.Second {
			t.Errorf("60 events took %v", d)
		}
		inOrder(t, seen, 0, 60)
		s.expect(s.do("POST", q, "3\x1e3\x1e3\x1e3"), 200, "ok") // pongs do not wait
		s.echo.stillOpen(t)
	})
}

// payload are the same messages as a POST.
func payload(from, to int) string {
	var packets []string
	for i := from; i < to; i++ {
		packets = append(packets, fmt.Sprintf("4%d", i))
	}
	return strings.Join(packets, "\x1e")
}

// A client that upgrades waits for the answer to its POST first: it gets it at
// once, and what it sends on the WebSocket comes after the rest of the POST.
func TestUpgradeWhilePostWaits(t *testing.T) {
	for _, early := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := events(1, 10)
			c.UpgradeTimeout, c.PingInterval, c.PingTimeout = 5*time.Second, 10*time.Second, 4*time.Second
			s := pipe(t, c)
			seen := metered(s)
			q := s.poller()
			var answer <-chan answer
			post := func() {
				answer = s.later("POST", q, payload(0, 60))
				synctest.Wait()
			}
			if !early {
				post()
			}
			w := s.probe(q)
			if early {
				post()
			}
			s.expect(<-answer, 200, "ok")
			w.send("5")
			go w.conn.Write(numbered(60, 61)) // it is read later
			for range 4 {
				w.expect("2")
			}
			inOrder(t, seen, 0, 61)
			s.echo.stillOpen(t)
			w.conn.Close()
		})
	}
}

// The same when the session ends before the rest is handled.
func TestCloseWhilePostWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, events(1, 10))
		seen := metered(s)
		q := s.poller()
		answer := s.later("POST", q, payload(0, 60))
		synctest.Wait()
		began := time.Now()
		s.echo.last().Close(engine.ForcedClose)
		s.echo.closed(t, engine.ForcedClose)
		s.expect(<-answer, 200, "ok")
		if time.Since(began) > 0 || len(seen) > 12 {
			t.Errorf("ended after %v and %d messages", time.Since(began), len(seen))
		}
	})
}
