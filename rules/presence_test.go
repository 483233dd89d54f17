package rules_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/rules"
)

func TestPresenceFunctionsAskTheHub(t *testing.T) {
	set := compile(t, "on test {\nack members(data) online() is_online(\"a\") `is_online(\"c\")` `size(members(user_room(1)))` `last_seen(1234)`\n}", rules.Options{})
	if got, want := newCall("test", `"r"`).run(t, set), `ack ["member of r"],["a","b"],true,false,1,4`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAppearAndTypingReachTheHub(t *testing.T) {
	for _, test := range []struct{ step, args, want string }{
		{`appear data`, `"ada"`, `appear ada`},
		{`appear data`, `12`, `appear 12`},
		{`appear data`, `1.5`, `refused INVALID: Invalid arguments`},
		{`appear data`, `["ada"]`, `appear ada`},
		{`appear data`, `["ada","bob"]`, `refused INVALID: Invalid arguments`},
		{"appear user_room(data)", `"ada"`, `refused INVALID: Invalid arguments`},
		{`typing start data`, `"r"`, `typing true r {"userId":"` + socketID + `"}`},
		{"typing start data[0] data[1]", `["r",{"a" : 1.0,"userId":"eve"}]`, `typing true r {"a":1.0,"userId":"` + socketID + `"}`},
		{"typing start data[0] data[1]", `["r","text"]`, `refused INVALID: Invalid arguments`},
		{`typing stop data`, `"r"`, `typing false r `},
		{`typing start data`, `["a","b"]`, `refused INVALID: Invalid arguments`},
	} {
		if got := newCall("test", test.args).run(t, compile(t, "on test {\n"+test.step+"\n}", rules.Options{})); got != test.want {
			t.Errorf("%s with %s\ngot  %s\nwant %s", test.step, test.args, got, test.want)
		}
	}
	for text, want := range map[string]string{
		"on test {\ntyping data\n}":             "Caddyfile:2: typing: write start or stop before the room: typing start data.roomId",
		"on test {\ntyping stop data {}\n}":     `Caddyfile:2: typing: unexpected {}; an expression with spaces or quotes must be in backticks`,
		"on connect {\ntyping start \"r\"\n}":   `Caddyfile:2: typing: it is only allowed in rules for events that clients send`,
		"on disconnect {\nappear \"ada\"\n}":    "Caddyfile:2: appear: a socket that has disconnected cannot appear",
		"on test {\ntyping start \"r\" nope\n}": `Caddyfile:2: typing: merge(nope, {"userId": sender}): undeclared name nope; a string needs quotes, "nope", and a field of the event's first argument is data.nope`,
	} {
		if _, err := compileError(text, rules.Options{}); err == nil || err.Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// What the server itself tells of typing and presence is not for `*`.
func TestPresenceIsReserved(t *testing.T) {
	relay := "on * {\nbroadcast * args...\n}\n"
	typing := relay + "on t {\nif true {\ntyping start data\n}\n}"
	on := rules.Options{Presence: hub.PresenceConfig{Announce: hub.AnnounceDiff}}
	for _, test := range []struct {
		event, text string
		o           rules.Options
		refused     bool
	}{
		{"user-typing", typing, rules.Options{}, true},
		{"user-stopped-typing", typing, rules.Options{}, true},
		{"user-typing", relay, rules.Options{}, false},
		{"online-users", relay, on, true},
		{"user-offline", relay, on, true},
		{"room-members", relay, on, true},
		{"online-users", relay, rules.Options{}, false},
		{"user-online", relay + "on user-online {\nappear data\n}", on, false},
	} {
		got := newCall(test.event, `"x"`).run(t, compile(t, test.text, test.o))
		if refused := got == "refused UNKNOWN_EVENT: Unknown event "+test.event; refused != test.refused {
			t.Errorf("%s: %s", test.event, got)
		}
	}
}

func TestPresenceFillsInWhatIsLeftOut(t *testing.T) {
	list, _ := rules.LoadPreset("presence")
	p := &rules.Presence{Grace: -1, Rooms: `room.startsWith("team:")`}
	c, err := p.Or(list.Presence).Compile()
	if err != nil || c.Announce != hub.AnnounceList || c.Interval != 100*time.Millisecond || c.Grace != 0 || !c.Rooms("team:a") || c.Rooms("a") {
		t.Errorf("%+v, %v", c, err)
	}
	if p = nil; p.Or(nil) != nil || p.Or(list.Presence) != list.Presence {
		t.Error("nothing of its own")
	}
	if c, err = p.Compile(); err != nil || c.On() {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		`{"announce":"all"}`:        "unknown value all; use list, diff or off",
		`{"interval":"2m"}`:         "the interval must be at most 1m",
		`{"rooms":"in_room(room)"}`: `in_room(room): in_room is not known here; the only variable is room`,
		`{"rooms":"data.x"}`:        `data.x: data is not known here; the only variable is room`,
		`{"rooms":"room"}`:          `room: a condition must be true or false, this is a string; compare it: room != ""`,
	} {
		var p rules.Presence
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Compile(); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	if _, err := compileError("presence {\nannounce list\nannounce diff\n}", rules.Options{}); err == nil || err.Error() != "Caddyfile:3: presence: announce: it is already set" {
		t.Error(err)
	}
}
