package rules_test

import (
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/parser"
	"github.com/caddy-realtime/realtime/rules"
)

// nullCall does nothing, so that only rules are measured.
type nullCall struct {
	fakeCall
	refused *hub.Refusal
	acks    int
}

func (c *nullCall) Peer() hub.Peer                                 { return &c.peer }
func (c *nullCall) Join([]hub.Address) *hub.Refusal                { return nil }
func (c *nullCall) Leave([]hub.Address) *hub.Refusal               { return nil }
func (c *nullCall) Emit(hub.Emission) *hub.Refusal                 { return nil }
func (c *nullCall) Batch(time.Duration, hub.Emission) *hub.Refusal { return nil }
func (c *nullCall) Ack(parser.Args)                                { c.acks++ }
func (c *nullCall) Set(string, []byte) *hub.Refusal                { return nil }
func (c *nullCall) End(r *hub.Refusal)                             { c.refused = r }

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
