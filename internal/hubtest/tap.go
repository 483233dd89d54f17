// Package hubtest stands between a hub and its engine: a benchmark hands
// messages to the hub as the engine does, and measures what the hub and its
// policy make of them without what reads and writes connections.
package hubtest

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

// window is how many messages an idle session's outbox keeps room for.
const window = 16

// Tap is a hub with one namespace, "/", behind an engine of its own.
type Tap struct {
	tb      testing.TB
	hub     *hub.Hub
	engine  *engine.Server
	network *siotest.Network
	crowd   *siotest.Crowd
	sent    int64 // messages to the readers

	mu     sync.Mutex
	opened engine.Receiver // of the session that opened last
}

// New returns a tap whose events p decides on. It is closed with the test.
func New(tb testing.TB, p hub.Policy) *Tap { return WithRecovery(tb, p, 0) }

// WithRecovery is New with a window for recovery.
func WithRecovery(tb testing.TB, p hub.Policy, window time.Duration) *Tap {
	quiet := engine.Config{PingInterval: time.Hour, PingTimeout: time.Hour, Plain: true}
	t := &Tap{tb: tb, crowd: siotest.NewCrowd(tb)}
	t.hub = hub.New(hub.Config{Engine: quiet, Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: p}}, Recovery: hub.RecoveryConfig{Window: window, Bytes: 1_000_000}})
	t.engine = engine.NewServer(t, quiet)
	t.network = siotest.Serve(tb, t.engine)
	tb.Cleanup(t.engine.Close)
	return t
}

// Open makes a Tap an engine.Handler.
func (t *Tap) Open(s *engine.Session) engine.Receiver {
	r := t.hub.Open(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opened = r
	return r
}

func (t *Tap) last() *Peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &Peer{t.opened}
}

// Poller returns a socket whose client polls and does not do so now: what it
// is sent stays in its outbox, and volatile events are dropped.
func (t *Tap) Poller() *Peer {
	t.engine.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/?EIO=4&transport=polling", nil))
	p := t.last()
	p.Send("0")
	return p
}

// Reader returns a socket on a WebSocket whose client reads all that it gets.
func (t *Tap) Reader() *Peer {
	t.dial("/?EIO=4&transport=websocket")
	p := t.last()
	p.Send("0")
	t.await(2) // the handshake, and CONNECT's answer
	return p
}

// PlainReader is Reader with plain JSON instead of Socket.IO.
func (t *Tap) PlainReader() *Peer {
	t.dial("/")
	t.await(1)
	return t.last()
}

func (t *Tap) dial(path string) {
	conn, err := t.network.Dial(context.Background(), "", "")
	if err != nil {
		t.tb.Fatalf("dialing: %v", err)
	}
	t.crowd.Open(conn, path)
}

// await waits until the readers have got n messages more.
func (t *Tap) await(n int) {
	t.sent += int64(n)
	t.crowd.Wait(t.sent)
}

// deliver flushes b, of which the readers get n messages.
func (t *Tap) deliver(b *engine.Batch, n int) {
	b.Flush()
	t.await(n)
}

// Peer is a socket, spoken for by the test: its client sends nothing itself.
type Peer struct{ receiver engine.Receiver }

// Send hands a packet to the hub and writes what came of it.
func (p *Peer) Send(packet string) {
	b := engine.NewBatch()
	defer b.Flush()
	p.Message(b, []byte(packet))
}

// Message hands a packet to the hub, without Engine.IO's '4'.
func (p *Peer) Message(b *engine.Batch, packet []byte) { p.receiver.Message(b, packet, false) }

// Lose tells the hub that the connection has broken.
func (p *Peer) Lose() {
	b := engine.NewBatch()
	defer b.Flush()
	p.receiver.Closed(b, engine.TransportClose)
}

// Bench measures p sending the packet, of which n messages come. What writes
// them is not in it.
func (t *Tap) Bench(b *testing.B, p *Peer, packet []byte, n int) {
	batch, queued := engine.NewBatch(), 0
	b.ReportAllocs()
	for b.Loop() {
		p.Message(batch, packet)
		if queued += n; queued == window*n {
			b.StopTimer()
			t.deliver(batch, queued)
			batch, queued = engine.NewBatch(), 0
			b.StartTimer()
		}
	}
	t.deliver(batch, queued)
}

// Allocs is how many allocations one such packet takes.
func (t *Tap) Allocs(p *Peer, packet []byte, n int) float64 {
	batch := engine.NewBatch()
	for range window { // and so make room in the outboxes
		p.Message(batch, packet)
	}
	t.deliver(batch, window*n)
	batch = engine.NewBatch()
	defer func() { t.deliver(batch, window*n) }()
	return testing.AllocsPerRun(window-1, func() { p.Message(batch, packet) }) // and one run to warm up
}
