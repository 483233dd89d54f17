package engine_test

import (
	"io"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/testenv"
)

var still = engine.Config{PingInterval: time.Hour, PingTimeout: time.Hour}

// A crowd is clients that discard what they get, and count it.
type crowd struct {
	sessions []*engine.Session
	received atomic.Int64
	target   atomic.Int64
	reached  chan struct{}
}

func gather(tb testing.TB, s *site, n int) *crowd {
	c := &crowd{reached: make(chan struct{}, 1)}
	c.target.Store(math.MaxInt64)
	for range n {
		w := s.session()
		go c.read(w)
		c.sessions = append(c.sessions, s.echo.last())
	}
	return c
}

func (c *crowd) read(w *ws) {
	for buf := make([]byte, 16<<10); ; {
		n, err := w.conn.Read(buf)
		if err != nil {
			return
		}
		if total := c.received.Add(int64(n)); total == c.target.Load() {
			c.reached <- struct{}{}
		}
	}
}

// broadcast sends texts to all and waits until they have arrived.
func (c *crowd) broadcast(frames ...*engine.Frames) {
	size := 0
	for _, f := range frames {
		size += f.Len()
	}
	c.target.Store(c.received.Load() + int64(size*len(c.sessions)))
	b := engine.NewBatch()
	for _, f := range frames {
		for _, session := range c.sessions {
			session.Send(b, f)
		}
	}
	b.Flush()
	<-c.reached
}

// BenchmarkBroadcast1000 sends windows of 8 messages to 1,000 sessions. One
// operation is one delivery.
func BenchmarkBroadcast1000(b *testing.B) {
	s := serve(b, still)
	c := gather(b, s, 1000)
	text := []byte(`2["msg",{"roomId":"r","text":"` + strings.Repeat("x", 64) + `"}]`)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += 8 * len(c.sessions) {
		var window []*engine.Frames
		for range 8 {
			window = append(window, engine.NewFrames(engine.EngineIO, text, false, nil))
		}
		c.broadcast(window...)
	}
}

// BenchmarkInput reads one masked text frame and hands it to the receiver.
func BenchmarkInput(b *testing.B) {
	s := serve(b, still)
	w, got := counted(s)
	f := frame(0x81, []byte(`42["message",{"text":"hello"}]`))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		w.write(f)
		<-got
	}
}

func counted(s *site) (w *ws, got chan struct{}) {
	got = make(chan struct{}, 1)
	s.echo.message = func(*engine.Session, *engine.Batch, []byte, bool) bool {
		got <- struct{}{}
		return true
	}
	return s.session(), got
}

// BenchmarkEcho is one message there and back.
func BenchmarkEcho(b *testing.B) {
	s := serve(b, still)
	w := s.session()
	f := frame(0x81, []byte(`42["message",{"text":"hello"}]`))
	answer := make([]byte, len(f)-4)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		w.write(f)
		if _, err := io.ReadFull(w.r, answer); err != nil {
			b.Fatal(err)
		}
	}
}

// What happens for every message allocates nothing.
func TestMessagesAndBroadcastsAllocateNothing(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector empties pools at random")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the pools keep what they have
	s := serve(t, still)
	w, got := counted(s)
	f := frame(0x81, []byte(`42["message",{"text":"hello"}]`))
	if n := testing.AllocsPerRun(1000, func() {
		w.write(f)
		<-got
	}); n >= 1 {
		t.Errorf("%v allocations for a message received", n)
	}

	s.echo.message = nil
	c := gather(t, s, 10)
	var window []*engine.Frames
	for range 4 {
		window = append(window, engine.NewFrames(engine.EngineIO, []byte("hello"), false, nil))
	}
	if n := testing.AllocsPerRun(1000, func() { c.broadcast(window...) }); n >= 1 {
		t.Errorf("%v allocations for a broadcast", n)
	}
}

// BenchmarkIdle reports what an idle session costs.
func BenchmarkIdle(b *testing.B) {
	const n = 4000
	for range b.N {
		s := serve(b, still)
		heap, stack := memory()
		clients := make([]*ws, n)
		for i := range clients {
			clients[i] = s.session()
			clients[i].r, clients[i].head = nil, nil
		}
		time.Sleep(200 * time.Millisecond)
		heap2, stack2 := memory()
		b.ReportMetric(float64(heap2-heap)/n, "heap-B/session")
		b.ReportMetric(float64(stack2-stack)/n, "stack-B/session")
		runtime.KeepAlive(clients)
		s.srv.Close()
	}
}

func memory() (heap, stack uint64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.StackInuse
}
