package engine_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
)

func websocketOf(q string) string { return strings.Replace(q, "polling", "websocket", 1) }

// Engine.IO v4, section Upgrade; E23 to E25.
func TestUpgradeMovesTheSessionToTheWebSocket(t *testing.T) {
	both(t, engine.Config{PingInterval: time.Hour}, func(t *testing.T, s *site) {
		q := s.poller()
		pending := s.later("GET", q, "")
		w := s.probe(q)
		s.expect(<-pending, 200, "6")
		s.expect(s.do("GET", q, ""), 200, "6") // repeated for every GET

		// Polling stays the transport until the upgrade packet.
		s.expect(s.do("POST", q, "4by post"), 200, "ok")
		s.expect(s.do("GET", q, ""), 200, "4by post")
		send(s.echo.last(), "queued")
		w.send("5")
		w.expect("4queued")
		w.send("4by websocket")
		w.expect("4by websocket")

		s.expect(s.do("GET", q, ""), 400, json3)
		s.expect(s.do("POST", q, "4x"), 400, json3)
		second := s.open(websocketOf(q))
		second.closes(0)
		w.send("4unaffected")
		w.expect("4unaffected")
		if st := s.srv.Stats(); st.WebSocket != 1 || st.Polling != 0 {
			t.Errorf("%+v", st)
		}
		w.conn.Close()
		s.echo.closed(t, engine.TransportClose)
	})
}

func TestUpgradeNeedsNoProbe(t *testing.T) {
	s := serve(t, engine.Config{})
	q := s.poller()
	w := s.open(websocketOf(q))
	w.write(append(frame(0x81, []byte("5")), frame(0x81, []byte("4together"))...)) // without a probe
	w.expect("4together")
}

// Input that comes with the packet that completes the upgrade is the session's,
// wherever it is cut.
func TestInputBehindTheUpgradeIsRead(t *testing.T) {
	input := append(append(frame(0x81, []byte("5")), frame(0x01, []byte("4in "))...), frame(0x80, []byte("parts"))...)
	input = append(input, frame(0x81, []byte("4whole"))...)
	both(t, engine.Config{}, func(t *testing.T, s *site) {
		for cut := range len(input) {
			w := s.open(websocketOf(s.poller()))
			w.write(input[:cut])
			w.write(input[cut:])
			w.expect("4in parts")
			w.expect("4whole")
			w.conn.Close()
		}
	})
}

// A GET that overtakes the upgrade packet is late all the same.
func TestGetThatOvertakesTheUpgradeIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{})
		q := s.poller()
		w := s.probe(q)
		late := s.later("GET", q, "")
		synctest.Wait()
		w.send("5")
		s.expect(<-late, 400, json3)
		w.send("4a")
		w.expect("4a")
	})
}

func TestUpgradeFromWebSocket(t *testing.T) {
	s := serve(t, engine.Config{})
	w := s.open("EIO=4&transport=websocket")
	id := sid(t, w.text())
	thief := s.open("EIO=4&transport=websocket&sid=" + id)
	thief.closes(0)
	w.send("4mine")
	w.expect("4mine")
}

func TestPollingQueryOpensNoWebSocket(t *testing.T) {
	s := serve(t, engine.Config{})
	w := s.open(s.poller())
	w.closes(0)
	w = s.open(polling)
	w.closes(0)
	s.echo.stillOpen(t)
}

func TestFailedProbeLeavesTheSessionOnPolling(t *testing.T) {
	for name, fail := range map[string]func(w *ws){
		"ping":    func(w *ws) { w.send("2"); w.closes(0) },
		"message": func(w *ws) { w.send("40"); w.closes(0) },
		"binary":  func(w *ws) { w.write(frame(0x82, []byte("5"))); w.closes(0) },
		"broken":  func(w *ws) { w.write(frame(0x83, nil)); w.closes(1002) },
		"closed":  func(w *ws) { w.write(frame(0x88, nil)); w.closes(0) },
		"lost":    func(w *ws) { w.conn.Close() },
		"half":    func(w *ws) { w.write(frame(0x81, []byte("2probe"))[:4]); w.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := pipe(t, engine.Config{PingInterval: time.Hour})
				q := s.poller()
				w := s.open(websocketOf(q))
				fail(w)
				synctest.Wait()
				s.expect(s.do("POST", q, "4a"), 200, "ok")
				s.expect(s.do("GET", q, ""), 200, "4a")

				// Another try is allowed, but one at a time.
				w = s.open(websocketOf(q))
				other := s.open(websocketOf(q))
				other.closes(0)
				w.send("2probe")
				w.expect("3probe")
				w.send("5")
				w.send("4b")
				w.expect("4b")
			})
		})
	}
}

func TestUpgradeThatIsNotCompletedEndsItsWebSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{PingInterval: time.Hour, UpgradeTimeout: time.Second})
		q := s.poller()
		w := s.open(websocketOf(q))
		began := time.Now()
		w.send("2probe")
		w.expect("3probe")
		w.closes(0)
		if d := time.Since(began); d < time.Second || d > 2*time.Second {
			t.Errorf("closed after %v", d)
		}
		pending := s.later("GET", q, "")
		time.Sleep(time.Minute) // no noops anymore
		send(s.echo.last(), "still polling")
		s.expect(<-pending, 200, "4still polling")
		s.open(websocketOf(q))
	})
}

func TestClosedSessionEndsItsProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{})
		q := s.poller()
		w := s.probe(q)
		s.expect(s.do("POST", q, "1"), 200, "ok")
		w.closes(0)
		s.echo.closed(t, engine.TransportClose)
	})
}
