package engine_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
)

// leave sends a session n messages of 100 KB each, which it does not read.
func leave(s *engine.Session, n int) {
	for range n {
		send(s, strings.Repeat("x", 100_000))
	}
}

func used(m *budget.Memory, use budget.Use) (n int64) {
	m.Each(func(name string, bytes int64) {
		if name == use.String() {
			n = bytes
		}
	})
	return n
}

func TestMemoryLimitRefusesNewcomersThenClosesTheLargest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(budget.Memory)
		s := pipe(t, engine.Config{Memory: 1_000_000, UsedMemory: m, WriteTimeout: time.Hour})
		lazy := s.session()
		first := s.echo.last()
		other := s.session()
		second := s.echo.last()
		good := s.session()
		third := s.echo.last()

		leave(first, 4)
		leave(second, 2)
		synctest.Wait()
		if n := m.Total(); n < 500_000 || n > 800_000 {
			t.Fatalf("%d bytes held", n)
		}
		s.session()

		leave(second, 3) // beyond 80 %: nobody new, nothing that may be dropped
		synctest.Wait()
		if a := s.do("GET", polling, ""); a.status != 503 || a.header.Get("Retry-After") == "" {
			t.Errorf("a newcomer: %d", a.status)
		}
		b := engine.NewBatch()
		third.SendVolatile(b, engine.NewFrames(engine.EngineIO, []byte("volatile"), false, nil))
		b.Flush()
		send(third, "steady")
		good.expect("4steady")
		s.echo.stillOpen(t)

		leave(second, 3) // beyond 100 %: the largest goes
		synctest.Wait()
		s.echo.closed(t, engine.SlowConsumer)
		s.echo.stillOpen(t)
		for first, _ := other.next(); first != 0; first, _ = other.next() {
		}
		s.session()
		for range 4 {
			lazy.text()
		}
		synctest.Wait()
		if n := m.Total() - used(m, budget.Sockets); n != 0 {
			t.Errorf("%d bytes held in the end", n)
		}
		if n := s.srv.Stats().Exhausted["memory"]; n != 2 {
			t.Errorf("memory exhausted %d times", n)
		}
	})
}

// What is held elsewhere than in outboxes is looked for in them once a second.
func TestMemoryHeldElsewhereIsRelievedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{Memory: 1_000_000})
		s.session()
		for second := range uint64(3) {
			for range 100 {
				s.srv.Hold(budget.Dedupe, 100_000)
				synctest.Wait()
			}
			if n := s.srv.Stats().Exhausted["memory"]; n != second+1 {
				t.Errorf("second %d: relieved %d times", second, n)
			}
			time.Sleep(time.Second)
		}
		s.echo.stillOpen(t)
	})
}

// A session's handshake is held as long as it.
func TestHandshakeIsHeldAsLongAsItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(budget.Memory)
		s := pipe(t, engine.Config{UsedMemory: m})
		a, b := s.session(), s.session()
		if n := used(m, budget.Sockets); n < 200 || n > 5000 {
			t.Errorf("%d bytes held", n)
		}
		a.conn.Close()
		b.conn.Close()
		synctest.Wait()
		if n := used(m, budget.Sockets); n != 0 {
			t.Errorf("%d bytes held in the end", n)
		}
	})
}

// A message that waits for many is held once: one legal message must not close
// a room.
func TestMemoryOfSharedMessages(t *testing.T) {
	both(t, engine.Config{Memory: 4_000_000, WriteTimeout: time.Hour}, func(t *testing.T, s *site) {
		var clients []*ws
		for range 30 {
			clients = append(clients, s.session())
		}
		large := strings.Repeat("x", 1_000_000)
		for range 3 {
			b := engine.NewBatch()
			f := engine.NewFrames(engine.EngineIO, []byte(large), false, nil)
			for _, session := range s.echo.all() {
				session.Send(b, f)
			}
			b.Flush()
		}
		for _, c := range clients {
			c.expect("4"+large, "4"+large, "4"+large)
		}
		s.echo.stillOpen(t)
	})
}

func TestInputIsHeldUntilItIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(budget.Memory)
		s := pipe(t, engine.Config{UsedMemory: m})
		check := func(when string, least, most int64) {
			t.Helper()
			synctest.Wait()
			if n := used(m, budget.Input); n < least || n > most {
				t.Errorf("%s: %d bytes held", when, n)
			}
		}
		whole := frame(0x81, []byte("4"+strings.Repeat("x", 500_000)))
		w := s.session()
		w.write(whole[:400_000])
		check("half a frame", 400_000, 1_000_000)
		w.write(whole[400_000:])
		w.text()
		check("a whole frame", 0, 0)
		w.write(frame(0x01, []byte("4abc"))) // a first fragment
		check("a fragment", 1, 1000)
		w.conn.Close()
		check("gone", 0, 0)
		w = s.session()
		w.write(whole[:400_000])
		time.Sleep(21 * time.Second) // not completed in time
		w.conn.Close()
		check("not completed", 0, 0)
	})
}
