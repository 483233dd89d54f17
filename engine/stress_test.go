package engine_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/engine"
)

// Many senders, upgrades in the middle, random closes: on a connection that
// lives, each sender's messages arrive in order, none lost, none twice.
func TestEachSendersMessagesArriveOnceInOrder(t *testing.T) {
	const clients, senders, rounds = 40, 4, 150
	s := serve(t, engine.Config{PingInterval: 200 * time.Millisecond, PingTimeout: 10 * time.Second})
	s.echo.mute = true

	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range clients {
		wg.Add(1)
		c := &checker{t: t, s: s, last: make([]int, senders), victim: i%8 == 7}
		kind := i % 3
		switch kind {
		case 0:
			c.ws = s.session()
		default:
			c.query = s.poller()
		}
		c.session = s.echo.last()
		go func() {
			defer wg.Done()
			<-begin
			if kind == 1 {
				c.upgradeAfter(rand.IntN(rounds / 2))
			}
			c.run(rounds)
		}()
	}

	targets := s.echo.all()
	close(begin)
	for from := range senders {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 1; n <= rounds; n++ {
				b := engine.NewBatch()
				text := fmt.Sprintf("%d %d %s", from, n, strings.Repeat("x", rand.IntN(3000)))
				f := engine.NewFrames(engine.EngineIO, []byte(text), false, nil)
				for _, target := range targets {
					target.Send(b, f)
				}
				b.Flush()
				if n == rounds/2 && from == 0 {
					for i, target := range targets {
						if i%8 == 7 {
							target.Close(engine.ForcedClose)
						}
					}
				}
				time.Sleep(time.Duration(rand.IntN(2)) * time.Millisecond)
			}
		}()
	}
	wg.Wait()
}

// checker is one client.
type checker struct {
	t       *testing.T
	s       *site
	session *engine.Session
	query   string
	ws      *ws
	last    []int // the last number from each sender
	count   int
	victim  bool // it is closed on the way
}

func (c *checker) take(packet string) (goOn bool) {
	switch {
	case packet == "2":
		if c.ws != nil {
			c.ws.send("3")
		} else {
			c.s.do("POST", c.query, "3")
		}
		return true
	case packet == "6":
		return true
	case packet == "1" && c.victim:
		return false
	}
	var from, n int
	if _, err := fmt.Sscanf(packet, "4%d %d", &from, &n); err != nil {
		c.t.Errorf("packet %.50q", packet)
		return false
	}
	if n != c.last[from]+1 {
		c.t.Errorf("sender %d: %d after %d", from, n, c.last[from])
	}
	c.last[from] = n
	c.count++
	return true
}

// upgradeAfter polls some messages and then upgrades.
func (c *checker) upgradeAfter(n int) {
	for c.count < n {
		if !c.poll() {
			return
		}
	}
	w := c.s.open(websocketOf(c.query))
	w.send("2probe")
	if first, p := w.next(); string(p) != "3probe" {
		if !c.victim {
			c.t.Errorf("no answer to the probe: %#x %q", first, p)
		}
		return
	}
	c.poll() // as the client does: until its GET is answered
	w.send("5")
	c.ws = w
}

func (c *checker) poll() (goOn bool) {
	a := c.s.do("GET", c.query, "")
	if a.status != 200 {
		if !c.victim {
			c.t.Errorf("GET: %d %q", a.status, a.body)
		}
		return false
	}
	for packet := range strings.SplitSeq(a.body, "\x1e") {
		if !c.take(packet) {
			return false
		}
	}
	return true
}

func (c *checker) run(rounds int) {
	for c.count < rounds*len(c.last) {
		if c.ws == nil {
			if !c.poll() {
				break
			}
			continue
		}
		first, p := c.ws.next()
		if first != 0x81 {
			if !c.victim {
				c.t.Errorf("frame %#x after %d messages", first, c.count)
			}
			break
		}
		if !c.take(string(p)) {
			break
		}
	}
	if !c.victim && c.count != rounds*len(c.last) {
		c.t.Errorf("%d messages", c.count)
	}
}

// Sessions come, talk and go at random, from many goroutines, with the server
// closing in the middle: every receiver is told once.
func TestEveryReceiverIsToldOnceOfItsEnd(t *testing.T) {
	s := serve(t, engine.Config{PingInterval: 50 * time.Millisecond, PingTimeout: 50 * time.Millisecond})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range 30 {
				w := s.session()
				// Any of them may have been closed by now.
				_, _ = w.conn.Write(frame(0x81, []byte("4hi")))
				switch (i + n) % 4 {
				case 0:
					w.conn.Close()
				case 1:
					_, _ = w.conn.Write(frame(0x88, nil))
				case 2:
					s.echo.last().Close(engine.ForcedClose)
				case 3: // the ping timeout
				}
			}
		}()
	}
	wg.Wait()
	s.srv.Close()
	if n := len(s.echo.reasons); n != 16*30 {
		t.Errorf("%d receivers were told", n)
	}
	for range len(s.echo.reasons) {
		<-s.echo.reasons
	}
	if st := s.srv.Stats(); st.Sessions != 0 || st.Panics != 0 {
		t.Errorf("%+v", st)
	}
}
