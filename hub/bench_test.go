package hub_test

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/hubtest"
	"github.com/caddy-realtime/realtime/internal/testenv"
)

// doing is a policy that does what clients say: "join" and "leave" a room,
// send "to" it, reliably or "volatile".
var doing = &script{event: func(c hub.Call) {
	to := room(strings.Trim(string(c.Event().Args.JSON), `"`))
	e := hub.Emission{Event: "m", Args: c.Event().Args, Scope: hub.ToRooms, To: to, Volatile: c.Event().Name == "volatile"}
	switch c.Event().Name {
	case "join":
		c.End(c.Do(&hub.Join{Rooms: to}))
	case "leave":
		c.End(c.Do(&hub.Leave{Rooms: to}))
	default:
		c.End(c.Do(&e))
	}
}}

// BenchmarkBroadcast sends to a room: from the message to the outboxes. What
// writes them is not in it.
func BenchmarkBroadcast(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) { benchmarkBroadcast(b, n, false) })
		b.Run(fmt.Sprintf("members=%d/codecs=2", n), func(b *testing.B) { benchmarkBroadcast(b, n, true) })
	}
}

func benchmarkBroadcast(b *testing.B, n int, plain bool) {
	t := hubtest.New(b, doing)
	for i := range n {
		if plain && i%2 == 1 {
			t.PlainReader().Send(`{"event":"join","args":["room"]}`)
		} else {
			t.Reader().Send(`2["join","room"]`)
		}
	}
	t.Bench(b, t.Poller(), []byte(`2["to","room"]`), n)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/delivery")
}

// BenchmarkParallel has every goroutine broadcast, or join and leave, or both,
// in a room of its own or in the same: what -cpu changes is what the lock of
// the namespace lets through. The messages are volatile and the members not
// there to take them, so that no outbox grows.
func BenchmarkParallel(b *testing.B) {
	for _, work := range []struct {
		name    string
		packets []string
	}{
		{"broadcast", []string{`2["volatile","%s"]`}},
		{"join", []string{`2["join","%s"]`, `2["leave","%s"]`}},
		{"both", []string{`2["join","%s"]`, `2["volatile","%[1]s"]`, `2["volatile","%[1]s"]`, `2["volatile","%[1]s"]`, `2["leave","%[1]s"]`}},
	} {
		for _, same := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/same=%v", work.name, same), func(b *testing.B) {
				benchmarkParallel(b, work.packets, same)
			})
		}
	}
}

// BenchmarkParallelRecovery is the same with recovery, which gives the events of
// a namespace one order: what is sent to the members of a room, and what is kept
// for one that has lost its connection.
func BenchmarkParallelRecovery(b *testing.B) {
	for _, event := range []string{"volatile", "to"} {
		for _, size := range []int{10, 10_000} {
			b.Run(fmt.Sprintf("%s/size=%d", event, size), func(b *testing.B) {
				t := hubtest.WithRecovery(b, keeping, time.Minute)
				if event == "to" {
					lost := t.Poller()
					for i := range runtime.GOMAXPROCS(0) {
						lost.Send(fmt.Sprintf(`2["join","lost-room-%d"]`, i))
					}
					lost.Lose()
				}
				prefix := map[string]string{"to": "lost-", "volatile": ""}[event]
				benchmarkParallelIn(b, t, []string{`2["` + event + `","` + prefix + `%s` + strings.Repeat(" ", size) + `"]`}, false)
			})
		}
	}
}

// keeping is doing, with rooms that may be followed by spaces.
var keeping = &script{event: func(c hub.Call) {
	to := room(strings.TrimRight(strings.Trim(string(c.Event().Args.JSON), `"`), " "))
	if c.Event().Name == "join" {
		c.End(c.Do(&hub.Join{Rooms: to}))
		return
	}
	c.End(c.Do(&hub.Emission{Event: "m", Args: c.Event().Args, Scope: hub.ToRooms, To: to, Volatile: c.Event().Name == "volatile"}))
}}

func benchmarkParallel(b *testing.B, packets []string, same bool) {
	benchmarkParallelIn(b, hubtest.New(b, doing), packets, same)
}

func benchmarkParallelIn(b *testing.B, t *hubtest.Tap, packets []string, same bool) {
	var rooms []string
	var peers []*hubtest.Peer
	for i := range runtime.GOMAXPROCS(0) {
		name := fmt.Sprintf("room-%d", i)
		if same {
			name = "room"
		}
		rooms = append(rooms, name)
		peers = append(peers, t.Poller())
		for range 10 {
			t.Poller().Send(fmt.Sprintf(`2["join","%s"]`, name))
		}
	}
	var next atomic.Int32
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		i := next.Add(1) - 1
		var messages [][]byte
		for _, p := range packets {
			messages = append(messages, fmt.Appendf(nil, p, rooms[i]))
		}
		batch := engine.NewBatch()
		defer batch.Flush()
		for n := 0; pb.Next(); n++ {
			peers[i].Message(batch, messages[n%len(messages)])
		}
	})
}

// BenchmarkJoined asks what it costs a socket to be in many rooms: to join and
// leave one more, and to leave them all at once.
func BenchmarkJoined(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("join/%d", n), func(b *testing.B) {
			p := hubtest.New(b, doing).Poller()
			joinMany(p, n)
			join, leave := []byte(`2["join","one more"]`), []byte(`2["leave","one more"]`)
			batch := engine.NewBatch()
			defer batch.Flush()
			b.ReportAllocs()
			for b.Loop() {
				p.Message(batch, join)
				p.Message(batch, leave)
			}
		})
		b.Run(fmt.Sprintf("disconnect/%d", n), func(b *testing.B) {
			t := hubtest.New(b, doing)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				p := t.Poller()
				joinMany(p, n)
				b.StartTimer()
				p.Send("1")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/room")
		})
	}
}

func joinMany(p *hubtest.Peer, n int) {
	for i := range n {
		p.Send(fmt.Sprintf(`2["join","room-%d"]`, i))
	}
}

// A broadcast allocates its message, and nothing for a member.
func TestBroadcastAllocatesNothingForAMember(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector empties pools at random")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the pools keep what they have
	few, many := broadcastAllocs(t, 2), broadcastAllocs(t, 50)
	if many > few {
		t.Errorf("%v allocations for a broadcast to 50, %v to 2", many, few)
	}
}

// broadcastAllocs is how many allocations one broadcast to n members takes.
func broadcastAllocs(t *testing.T, n int) float64 {
	tap := hubtest.New(t, doing)
	for range n {
		tap.Reader().Send(`2["join","room"]`)
	}
	return tap.Allocs(tap.Poller(), []byte(`2["to","room"]`), n)
}
