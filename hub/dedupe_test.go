package hub_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/siotest"
	"github.com/caddy-realtime/realtime/parser"
)

// named takes the name in the CONNECT payload for who the client is.
type named struct{}

func (named) Authenticate(_ context.Context, _ *auth.Request, payload []byte) (*auth.Identity, error) {
	name := strings.Trim(string(payload), `{}"n:`)
	if name == "" {
		return nil, nil
	}
	return &auth.Identity{ID: name, Claims: []byte(`{}`)}, nil
}

// onces is a policy whose events have their first argument as the key, and how
// often each ran.
type onces struct {
	ran   map[string]int
	total int
}

func (p *onces) event(c hub.Call) {
	key, _, _ := strings.Cut(string(c.Event().Args.JSON), ",")
	key = strings.Clone(key)
	name := strings.Clone(c.Event().Name)
	r := c.Do(&hub.Once{Key: key, TTL: time.Minute, Run: func() {
		p.ran[name+key]++
		p.total++
		n := p.ran[name+key]
		switch name {
		case "big":
			c.Do(&hub.Ack{Args: args(`"` + strings.Repeat("x", 100_000) + `"`)})
			c.End(nil)
		case "huge":
			c.Do(&hub.Ack{Args: args(`"` + strings.Repeat("x", 1_100_000) + `"`)})
			c.End(nil)
		case "ask":
			c.Suspend(false)
			c.Do(&hub.Ask{Event: "question", Args: args(``), Timeout: 5 * time.Second, Then: func(a parser.Args, r *hub.Refusal) {
				c.Do(&hub.Ack{Args: a})
				c.End(r)
			}})
		case "busy":
			c.Suspend(false)
			c.Do(&hub.Ask{Event: "question", Args: args(``), Timeout: 5 * time.Second, Then: func(a parser.Args, r *hub.Refusal) {
				if r == nil {
					c.Do(&hub.Ack{Args: a})
				}
				c.End(r)
			}})
		case "refused":
			c.End(&hub.Refusal{Code: hub.Forbidden, Message: fmt.Sprint("no ", n)})
		case "passing":
			c.End(&hub.Refusal{Code: hub.Busy, Message: fmt.Sprint("busy ", n)})
		case "both":
			c.Do(&hub.Ack{Args: args(fmt.Sprint(n))})
			c.End(&hub.Refusal{Code: hub.Timeout, Message: "late"})
		case "ignore":
			c.Do(&hub.Ignore{})
			c.End(nil)
		case "panic":
			panic("boom")
		case "twice":
			c.Do(&hub.Once{Key: "other", TTL: time.Minute, Run: func() {
				c.Do(&hub.Ack{Args: args(fmt.Sprint(n))})
				c.End(nil)
			}})
		default:
			c.Do(&hub.Ack{Args: args(fmt.Sprintf(`"%s %d"`, c.Event().Socket.ID()[:2], n))})
			c.End(nil)
		}
	}})
	if r != nil {
		c.End(r)
	}
}

func serveOnce(t *testing.T, f func(t *testing.T, p *onces, h *hub.Hub, n *siotest.Network)) {
	serveOnceWith(t, hub.Config{}, f)
}

func serveOnceWith(t *testing.T, config hub.Config, f func(t *testing.T, p *onces, h *hub.Hub, n *siotest.Network)) {
	p := &onces{ran: map[string]int{}}
	config.Namespaces = []hub.NamespaceConfig{
		{Name: "/", Policy: &script{event: p.event}, Auth: named{}},
		{Name: "/other", Policy: &script{event: p.event}, Auth: named{}},
	}
	serveConfig(t, config, func(t *testing.T, h *hub.Hub, n *siotest.Network) { f(t, p, h, n) })
}

func TestRepeatGetsTheSameAnswerAgain(t *testing.T) {
	serveOnce(t, func(t *testing.T, p *onces, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"n":"ann"}`)
		for _, test := range []struct{ event, first, second string }{
			{`e`, `[“s_ 1”]`, `[“s_ 1”]`},
			{`refused`, `[{"error":"no 1","code":"FORBIDDEN"}]`, `[{"error":"no 1","code":"FORBIDDEN"}]`},
			{`passing`, `[{"error":"busy 1","code":"BUSY"}]`, `[{"error":"busy 2","code":"BUSY"}]`},
			{`panic`, `[{"error":"Internal error","code":"PROCESSING_ERROR"}]`, `[{"error":"Internal error","code":"PROCESSING_ERROR"}]`},
			{`twice`, `[1]`, `[1]`},
		} {
			quotes := strings.NewReplacer("“", `"`, "”", `"`)
			c.Send(`421["` + test.event + `","k"]`)
			c.Expect("431" + quotes.Replace(test.first))
			c.Send(`422["` + test.event + `","k"]`)
			c.Expect("432" + quotes.Replace(test.second))
		}
		if p.ran[`panic"k"`] != 2 || p.ran[`e"k"`] != 1 {
			t.Errorf("ran %v", p.ran)
		}
		c.Send(`421["ignore","k"]`)
		c.Send(`422["ignore","k"]`)
		synctest.Wait()
		c.Quiet()
		c.Send(`421["both","k"]`) // answered, whatever came then
		c.Expect(`431[1]`, `42["error",{"code":"TIMEOUT","message":"late","event":"both"}]`)
		c.Send(`422["both","k"]`)
		c.Expect(`432[1]`)

		time.Sleep(time.Minute) // the answer has expired
		c.Send(`421["e","k"]`)
		c.Expect(`431["s_ 2"]`)
	})
}

// The same key from two users, two anonymous sockets, for
// two events or in two namespaces is not the same.
func TestOnceOfTwoUsers(t *testing.T) {
	serveOnce(t, func(t *testing.T, p *onces, h *hub.Hub, n *siotest.Network) {
		ask := func(payload, packet string) {
			t.Helper()
			c := n.WebSocket(wsPath)
			namespace := "/"
			if strings.HasPrefix(packet, "42/other,") {
				namespace = "/other"
			}
			c.Join(namespace, payload)
			c.Send(packet)
			c.Next()
		}
		for i, packet := range []struct{ payload, packet string }{
			{`{"n":"ann"}`, `421["e","k"]`}, {`{"n":"bob"}`, `421["e","k"]`},
			{``, `421["e","k"]`}, {``, `421["e","k"]`},
			{`{"n":"ann"}`, `42/other,1["e","k"]`},
		} {
			ask(packet.payload, packet.packet)
			if got := p.ran[`e"k"`]; got != i+1 {
				t.Errorf("%d: ran %d times", i, got)
			}
		}
		ask(`{"n":"ann"}`, `421["f","k"]`)
		if p.ran[`f"k"`] != 1 {
			t.Error("another event did not run")
		}
		ask(`{"n":"ann"}`, `421["e","k"]`) // ann again, from another socket
		if got := p.ran[`e"k"`]; got != 5 {
			t.Errorf("ran %d times", got)
		}
	})
}

// A repeat during the first run gets its answer; if there is
// none, the next one runs.
func TestRepeatGetsTheAnswerOfTheFirstRun(t *testing.T) {
	serveOnce(t, func(t *testing.T, p *onces, h *hub.Hub, n *siotest.Network) {
		a, b := n.WebSocket(wsPath), n.WebSocket(wsPath)
		a.Join("/", `{"n":"ann"}`)
		b.Join("/", `{"n":"ann"}`)
		a.Send(`421["busy","k"]`)
		a.Expect(`420["question"]`)
		b.Send(`422["busy","k"]`)
		a.Send(`423["busy","k"]`)
		b.Send(`424["e","j"]`) // others of the socket go on
		b.Expect(`434["s_ 1"]`)
		synctest.Wait()
		a.Quiet()
		a.Send(`430["yes"]`)
		a.Expect(`431["yes"]`, `433["yes"]`)
		b.Expect(`432["yes"]`)
		if p.ran[`busy"k"`] != 1 {
			t.Errorf("ran %d times", p.ran[`busy"k"`])
		}

		// The first one's socket goes: the repeat does the work.
		a.Send(`421["busy","l"]`)
		a.Expect(`421["question"]`)
		b.Send(`422["busy","l"]`)
		b.Send(`423["busy","l"]`)
		synctest.Wait()
		a.Close()
		b.Expect(`422["question"]`)
		b.Send(`432["again"]`)
		b.Expect(`432["again"]`, `433["again"]`)
	})
}

// No more wait than may, whoever does not answer.
func TestOnceRepeatsAreBounded(t *testing.T) {
	serveOnce(t, func(t *testing.T, p *onces, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"n":"ann"}`)
		c.Send(`421["busy","k"]`)
		c.Expect(`420["question"]`)
		for range 64 {
			c.Send(`422["busy","k"]`)
		}
		c.Send(`423["busy","k"]`)
		c.Expect(`433[{"error":"Too many events are waiting","code":"BUSY"}]`)
		c.Send(`430[1]`)
		c.Expect(`431[1]`)
		for range 64 {
			c.Expect(`432[1]`)
		}
	})
}

// One user's keys stay within the user's limits, in
// number and bytes, and all is gone when they have expired.
func TestOnceFiftyThousandKeys(t *testing.T) {
	serveOnce(t, func(t *testing.T, p *onces, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"n":"ann"}`)
		before := heap()
		for i := range 50_000 {
			c.Send(fmt.Sprintf(`421["e","%d"]`, i))
			c.Next()
		}
		p.ran = map[string]int{}
		if grown := heap() - before; grown > 8<<20 {
			t.Errorf("%d bytes more", grown)
		}
		ran := func(packet string) bool {
			before := p.total
			c.Send(packet)
			c.Next()
			return p.total > before
		}
		if ran(`421["e","49000"]`) {
			t.Error("one of the last 1,000 ran again")
		}
		if !ran(`421["e","48999"]`) {
			t.Error("one before the last 1,000 was kept")
		}
		for i := range 20 { // 2 MB of answers
			ran(fmt.Sprintf(`421["big","%d"]`, i))
		}
		if ran(`421["big","19"]`) || !ran(`421["big","5"]`) {
			t.Error("not the last answers that fit are kept")
		}
		ran(`421["huge","0"]`)
		if ran(`421["huge","0"]`) {
			t.Error("ran twice because its answer was too large")
		}
		time.Sleep(2 * time.Minute)
		if grown := heap() - before; grown > 2<<20 {
			t.Errorf("%d bytes are left of what expired", grown)
		}
	})
}

// If clients hold too much memory, the oldest answers go before a new client is
// refused, those of users that have left among them.
func TestOldAnswersAreShedBeforeAnyClientIsRefused(t *testing.T) {
	m := new(budget.Memory)
	config := hub.Config{Engine: engine.Config{UsedMemory: m, Memory: 2_000_000}}
	serveOnceWith(t, config, func(t *testing.T, p *onces, h *hub.Hub, n *siotest.Network) {
		for i := range 10 {
			for _, namespace := range []string{"/", "/other"} {
				c := n.WebSocket(wsPath) // fails if it is refused
				c.Join(namespace, fmt.Sprintf(`{"n":"user%d"}`, i))
				prefix := strings.TrimPrefix(namespace+",", "/,")
				for k := range 5 {
					c.Send(fmt.Sprintf(`42%s1["big","%d"]`, prefix, k))
					c.Next()
				}
				before := p.total
				c.Send(fmt.Sprintf(`42%s1["big","4"]`, prefix))
				if c.Next(); p.total != before {
					t.Error("the last answer was not kept")
				}
				c.Close()
				synctest.Wait()
				if m.Total() > 2_000_000 {
					t.Fatalf("%d bytes are held", m.Total())
				}
			}
		}
	})
}

func heap() int {
	synctest.Wait()
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Of many sockets that send the same keys together, each key
// runs once and all get its answer.
func TestSameKeyFromManySocketsRunsOnce(t *testing.T) {
	const sockets, keys = 10, 100
	var ran atomic.Int64
	p := &script{event: func(c hub.Call) {
		key := string(c.Event().Args.JSON)
		r := c.Do(&hub.Once{Key: key, TTL: time.Minute, Run: func() {
			ran.Add(1)
			c.Suspend(false)
			go func() {
				c.Do(&hub.Ack{Args: args(key)})
				c.End(nil)
			}()
		}})
		if r != nil {
			c.End(r)
		}
	}}
	config := hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: p, Auth: named{}}}}
	serveConfig(t, config, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		var all []*siotest.Conn
		for range sockets {
			c := n.WebSocket(wsPath)
			c.Join("/", `{"n":"ann"}`)
			all = append(all, c)
		}
		for key := range keys {
			for _, c := range all {
				c.Send(fmt.Sprintf(`421["e",%d]`, key))
			}
			for _, c := range all {
				c.Expect(fmt.Sprintf(`431[%d]`, key))
			}
		}
		if got := ran.Load(); got != keys {
			t.Errorf("ran %d times", got)
		}
	})
}

func TestDedupeKeyHasALimit(t *testing.T) {
	serveOnce(t, func(t *testing.T, p *onces, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`421["e","` + strings.Repeat("k", 300) + `"]`)
		c.Expect(`431[{"error":"Key too long","code":"INVALID"}]`)
	})
}
