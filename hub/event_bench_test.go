package hub_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/wsclient"
)

// BenchmarkEvent is one event that is sent on to a room of one other, without
// limits and with limits that are never reached.
func BenchmarkEvent(b *testing.B) {
	endless := budget.Rate{PerSecond: 1e12, Burst: 1e15}
	still := engine.Config{PingInterval: time.Hour, PingTimeout: time.Hour}
	limited := still
	limited.Rates = budget.Rates{budget.Events: endless, budget.Bytes: endless, budget.Fanout: endless, budget.CPU: endless}
	for name, c := range map[string]hub.Config{"unlimited": {Engine: still}, "limited": {Engine: limited}} {
		b.Run(name, func(b *testing.B) { benchmarkEvent(b, c) })
	}
}

func benchmarkEvent(b *testing.B, c hub.Config) {
	var heard atomic.Int64
	relay := func(c hub.Call) {
		if c.Event().Name == "join" {
			c.End(c.Do(&hub.Join{Rooms: room("r")}))
			return
		}
		r := c.Do(&hub.Emission{Event: "m", Args: c.Event().Args, Scope: hub.ToRooms, To: room("r"), NotSelf: true})
		heard.Add(1)
		c.End(r)
	}
	c.Namespaces = []hub.NamespaceConfig{{Name: "/", Policy: &script{event: relay}}}
	h := hub.New(c)
	b.Cleanup(h.Close)
	srv := httptest.NewServer(http.HandlerFunc(h.Engine().ServeHTTP))
	b.Cleanup(srv.Close)

	member := dialRaw(b, srv.Listener.Addr().String())
	member.Write(masked(`420["join"]`))
	go io.Copy(io.Discard, member)
	sender := dialRaw(b, srv.Listener.Addr().String())
	var window []byte
	const size = 32
	for range size {
		window = append(window, masked(`42["message",{"roomId":"r","text":"hello, hello, hello"}]`)...)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += size {
		sender.Write(window)
		for heard.Load() < int64(n+size) {
			time.Sleep(5 * time.Microsecond)
		}
	}
}

// dialRaw is a WebSocket in the main namespace.
func dialRaw(tb testing.TB, address string) net.Conn {
	c, err := net.Dial("tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	if err := wsclient.Open(c, bufio.NewReader(c), "x", wsPath); err != nil {
		tb.Fatal(err)
	}
	c.Write(masked("40"))
	return c
}

// masked is a text frame as a client sends it.
func masked(text string) []byte {
	return wsclient.AppendFrame(nil, wsclient.Text, text)
}
