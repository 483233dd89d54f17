package rules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/rules"
)

// timedCall notes how often and how long it is told that a rule works.
type timedCall struct {
	fakeCall
	stints int
}

func (c *timedCall) Worked(d time.Duration) {
	c.stints++
	c.worked += d
}

// What may take long is charged, after each stint of it; what is surely quick is
// not even clocked.
func TestTimeOfRulesIsTold(t *testing.T) {
	list := "[" + strings.Repeat("1,", 1200) + "1]"
	tree := `{"$defs": {"n": {"oneOf": [
		{"properties": {"in": {"items": {"$ref": "#/$defs/n"}}, "a": false}},
		{"properties": {"in": {"items": {"$ref": "#/$defs/n"}}, "b": false}},
		{"properties": {"in": {"items": {"$ref": "#/$defs/n"}}, "c": false}}]}}, "$ref": "#/$defs/n"}`
	for _, test := range []struct {
		name, steps, args string
		least, most       time.Duration
	}{
		{"selection", "ack data.text", `{"text":"x"}`, 0, 0},
		{"comparison", "require `data.text != \"\"`", `{"text":"x"}`, 0, 0},
		{"expression", "require `data.text.size() < 10`", `{"text":"x"}`, 0, 0},
		{"expression over a long message", "require `data.text.size() > 10`", `{"text":"` + strings.Repeat("x", 5000) + `"}`, 1, time.Second},
		{"expression over what is kept", "require `socket.data.size() < data.size()`", `[1,2]`, 1, time.Second},
		{"members of a room", "ack `members(\"r\").size()`", `1`, 1, time.Second},
		{"loop", "require `data.exists(x, x == 2)`", `[1,2]`, 1, time.Second},
		{"loops without end", "require `data.all(x, data.all(y, data.all(z, x + y + z > 0)))`", list, 2 * hub.Stint, time.Second},
		{"map", "ack `data.map(x, data.map(y, data.map(z, x + y + z)))`", list, 2 * hub.Stint, time.Second},
		{"filter", "ack `data.filter(x, data.filter(y, data.exists_one(z, z == 2)).size() > 0)`", list, 2 * hub.Stint, time.Second},
		{"schema", `schema {"type":"integer"}`, `1`, 1, time.Second},
		{"schema without end", "schema `" + tree + "`", strings.Repeat(`{"in":[`, 15) + strings.Repeat("]}", 15), 2 * hub.Stint, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := compile(t, "on test {\n"+test.steps+"\n}", rules.Options{})
			c := &timedCall{fakeCall: *newCall("test", test.args)}
			set.Event(c)
			if c.worked < test.least || c.worked > test.most {
				t.Errorf("%v were told, want between %v and %v", c.worked, test.least, test.most)
			}
			// Of a busy machine others have a part.
			if most := int(c.worked/hub.Stint) + 1; c.stints > most || test.least > hub.Stint && c.stints < 2 {
				t.Errorf("%v were told in %d stints", c.worked, c.stints)
			}
		})
	}
}
