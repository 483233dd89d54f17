package rules_test

import (
	"runtime/debug"
	"testing"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/hubtest"
	"github.com/caddy-realtime/realtime/internal/testenv"
	"github.com/caddy-realtime/realtime/rules"
)

// nullCall does nothing, so that only rules are measured.
type nullCall struct {
	fakeCall
	refused *hub.Refusal
	acks    int
}

var errEmpty = &hub.Refusal{Code: hub.RateLimited, Message: "Empty"}

func (c *nullCall) Do(a hub.Action) *hub.Refusal {
	switch a.(type) {
	case *hub.Take:
		if c.limit {
			return errEmpty
		}
	case *hub.Ack:
		c.acks++
	}
	return nil
}
func (c *nullCall) End(r *hub.Refusal) { c.refused = r }

const message = `{"roomId":"org:acme:general","text":"hello, how are you all today?","clientId":1234567}`

// hot are the rules whose speed matters.
var hot = []struct{ name, steps string }{
	{"ack", `ack data`},
	{"ack-field", `ack data.clientId`},
	{"require", "require `type(data.text) == string && data.text != \"\"` \"Text\"\nack data"},
	{"require-room", "require in_room(data.roomId) \"Room\"\nack data"},
	{"require-cel", "require `data.text.size() < 1000` \"Text\"\nack data"},
	{"require-loop", "require `[1, 2, 3].exists(x, x == 2)` \"Text\"\nack data"},
	{"broadcast", `broadcast x data to data.roomId`},
	{"literal", "ack `{\"success\": true, \"id\": data.clientId, \"by\": sender, \"at\": now}`"},
	{"merge", "broadcast x `merge(data, {\"id\": 1, \"userId\": sender})` to data.roomId"},
	{"literal-cel", "ack `{\"n\": data.clientId + 1}`"},
}

func BenchmarkRules(b *testing.B) {
	for _, h := range hot {
		b.Run(h.name, func(b *testing.B) {
			set := compile(b, "on test {\n"+h.steps+"\n}", rules.Options{})
			c := &nullCall{fakeCall: *newCall("test", message).in("org:acme:general")}
			b.ReportAllocs()
			for b.Loop() {
				set.Event(c)
			}
			if c.refused != nil {
				b.Fatal(c.refused)
			}
		})
	}
}

// way are the rules that are measured from the bytes of a message to the
// outboxes, in a room of ten. Of one event come some messages and, at most,
// allocations: an answer costs its bytes and its Frames, the rest nothing.
var way = []struct {
	name, steps string
	messages    int
	allocs      float64
}{
	{"ack", `ack data`, 1, 2},
	{"require", "require `data.clientId > 0 && data.text != \"\"` \"Text\"\nack data", 1, 2},
	{"broadcast", `broadcast x data to data.roomId`, 9, 6},
	{"refused", "require `data.clientId < 0` \"No\"", 1, 5},
}

var event = []byte(`20["test",` + message + `]`)

// room is a hub by these rules, and one of ten sockets in the room.
func room(tb testing.TB, steps string) (*hubtest.Tap, *hubtest.Peer) {
	t := hubtest.New(tb, compile(tb, "on connect {\njoin \"org:acme:general\"\n}\non test {\n"+steps+"\n}", rules.Options{}))
	for range 9 {
		t.Reader()
	}
	return t, t.Reader()
}

// BenchmarkWay is decode, rule and outbox.
func BenchmarkWay(b *testing.B) {
	for _, w := range way {
		b.Run(w.name, func(b *testing.B) {
			t, sender := room(b, w.steps)
			t.Bench(b, sender, event, w.messages)
		})
	}
}

// An event allocates no more than way says.
func TestEventsAllocateNoMoreThanTheySay(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector empties pools at random")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the pools keep what they have
	for _, w := range way {
		tap, sender := room(t, w.steps)
		if n := tap.Allocs(sender, event, w.messages); n > w.allocs {
			t.Errorf("%s: %v allocations, want %v", w.name, n, w.allocs)
		}
	}
}
