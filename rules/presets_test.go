package rules_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-realtime/realtime/internal/caddyrules"
	"github.com/caddy-realtime/realtime/rules"
)

// steady replaces what differs from run to run.
func steady(s string) string {
	s = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`).ReplaceAllString(s, "UUID")
	return regexp.MustCompile(`"timestamp":1[0-9]{12}\b`).ReplaceAllString(s, `"timestamp":NOW`)
}

var update = flag.Bool("update", false, "write the JSON of the presets")

// `go test -run Preset -update ./rules` writes the JSON; without -update it is compared.
func TestPresetsAreWhatTheirSourcesSay(t *testing.T) {
	for _, name := range rules.PresetNames() {
		source, _ := rules.PresetSource(name)
		want, err := caddyrules.Preset("preset "+name, source)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			text, err := json.MarshalIndent(want, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile("presets/"+name+".json", append(text, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := rules.LoadPreset(name); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s differs from its source, or %v", name, err)
		}
	}
}

func TestPresetsDoWhatTheySay(t *testing.T) {
	var all [][]rules.Rule
	for _, name := range rules.PresetNames() {
		preset, err := rules.LoadPreset(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, preset.Rules)
	}
	set, err := rules.Compile(nil, all, rules.Options{AllowRooms: `!room.startsWith("secret")`})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ event, args, want string }{
		{"join-room", `"r"`, `join [r]; emit user-joined({"userId":"bob","timestamp":NOW}) to [r] notself`},
		{"join-room", `7`, `join [7]; emit user-joined({"userId":"bob","timestamp":NOW}) to [7] notself`},
		{"join-room", `""`, `refused INVALID: Room required`},
		{"join-room", ``, `refused INVALID: Room required`},
		{"join-room", `["a"]`, `refused INVALID: Room required`},
		{"leave-room", `"in"`, `leave [in]; emit user-left({"userId":"bob","timestamp":NOW}) to [in] notself`},
		{"leave-room", `"r"`, ``},
		{"leave-room", `null`, `refused INVALID: Room required`},
		{"join-room", `"in"`, ``}, // is in it: told nothing again
		{"rejoin-rooms", `["a",2]`, `join [a 2]; ack {"refused":[]}`},
		{"rejoin-rooms", `["a","user:eve","secret\"s",""]`, `join [a]; ack {"refused":["user:eve","secret\"s",""]}`},
		{"rejoin-rooms", `[]`, `join []; ack {"refused":[]}`},
		{"rejoin-rooms", `[` + repeat(`"a",`, 128) + `"a"]`, `refused INVALID: Too many rooms: 129, at most 128`},
		{"rejoin-rooms", `"a"`, `refused INVALID: List of rooms required`},
		{"rejoin-rooms", `[{}]`, `refused INVALID: Invalid arguments`},
		{"message", `{"a" : 1.0}`, `emit message-received({"a" : 1.0}) self`},
		{"message", `1,2`, `emit message-received(1,2) self`},
		{"send-message", `{"roomId":"in","text":"hi","id":"mine","x":1.0}`, `emit new-message({"roomId":"in","text":"hi","id":"UUID","x":1.0,"userId":"bob","timestamp":NOW}) to [in] notself; ack {"success":true,"messageId":"UUID"}`},
		{"send-message", `{"roomId":"out","text":"hi"}`, `refused FORBIDDEN: Not in this room`},
		{"send-message", `{"roomId":"in","text":""}`, `refused INVALID: Message text required`},
		{"send-message", `{"roomId":"in"}`, `refused INVALID: Message text required`},
		{"send-message", `{"text":"x"}`, `refused INVALID: Room required`},
		{"send-message", ``, `refused INVALID: Room required`},
		{"private-message", `{"toUserId":"eve","message":"hi"}`, `emit private-message({"fromUserId":"bob","message":"hi","timestamp":NOW}) to [user eve]`},
		{"private-message", `{"toUserId":5,"message":"hi"}`, `emit private-message({"fromUserId":"bob","message":"hi","timestamp":NOW}) to [user 5]`},
		{"private-message", `{"message":"hi"}`, `refused INVALID: Recipient required`},
		{"private-message", `{"toUserId":"eve","message":{"text" : 1.0}}`, `emit private-message({"fromUserId":"bob","message":{"text" : 1.0},"timestamp":NOW}) to [user eve]`},
		{"private-message", `{"toUserId":"eve","message":[]}`, `emit private-message({"fromUserId":"bob","message":[],"timestamp":NOW}) to [user eve]`},
		{"private-message", `{"toUserId":"eve","message":false}`, `emit private-message({"fromUserId":"bob","message":false,"timestamp":NOW}) to [user eve]`},
		{"private-message", `{"toUserId":"eve","message":0}`, `emit private-message({"fromUserId":"bob","message":0,"timestamp":NOW}) to [user eve]`},
		{"private-message", `{"toUserId":"eve","message":null}`, `refused INVALID: Message required`},
		{"private-message", `{"toUserId":"eve","message":""}`, `refused INVALID: Message required`},
		{"private-message", `{"toUserId":"eve"}`, `refused INVALID: Message required`},
		{"update", `{"a" : 1.0}`, `batch 100ms batch-updates({"a" : 1.0}) all`},
		{"user-online", `"ada"`, `appear ada`},
		{"user-online", `7`, `appear 7`},
		{"user-online", `["ada"]`, `refused INVALID: User id required`},
		{"user-online", `""`, `refused INVALID: User id required`},
		{"typing-start", `{"roomId":"in","username":"Bob","userId":"eve"}`, `typing true in {"username":"Bob","userId":"bob"}`},
		{"typing-start", `{"roomId":"in"}`, `typing true in {"userId":"bob"}`},
		{"typing-start", `"in"`, `refused INVALID: Room required`},
		{"typing-stop", `{"roomId":"in"}`, `typing false in `},
		{"typing-stop", `{}`, `refused INVALID: Room required`},
		{"user-typing", `{}`, `refused UNKNOWN_EVENT: Unknown event user-typing`},
		{"user-joined", `{}`, `refused UNKNOWN_EVENT: Unknown event user-joined`},
	} {
		if got := steady(newCall(test.event, test.args).as("bob").in("in").run(t, set)); got != test.want {
			t.Errorf("%s(%s)\ngot  %s\nwant %s", test.event, test.args, got, test.want)
		}
	}

	for auth, want := range map[string]string{
		`{"rooms":["a",2]}`: `join [a 2]`,
		`{"rooms":"a"}`:     `join [a]`,
		`{"token":"x"}`:     ``,
		`{"rooms":[{}]}`:    `refused INVALID: Invalid arguments`,

		`{"rooms":["secret","a","user:eve"]}`: `join [a]; emit rooms-refused(["secret","user:eve"]) self`,
	} {
		c := newCall("connect", ``)
		c.socket.handshake = `{"auth":` + auth + `}`
		if got := c.run(t, set); got != want {
			t.Errorf("connect with %s\ngot  %s\nwant %s", auth, got, want)
		}
	}

	c := newCall("send-message", `{"roomId":"in","text":"hi"}`).in("in")
	c.run(t, set)
	ids := regexp.MustCompile(`[0-9a-f-]{36}`).FindAllString(c.log(), -1)
	if len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("the message has the ids %v", ids)
	}
	if !strings.Contains(c.log(), `"userId":"`+socketID+`"`) {
		t.Errorf("an anonymous sender: %s", c.log())
	}
}

func TestLogIsCutAndLimited(t *testing.T) {
	var out bytes.Buffer
	set := compile(t, "on test {\nlog data\nack 1\n}", rules.Options{Logger: slog.New(slog.NewJSONHandler(&out, nil))})
	for range 30 {
		if got := newCall("test", `"é`+repeat("x", 2000)+`\n"`).run(t, set); got != "ack 1" {
			t.Fatal(got)
		}
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) < 10 || len(lines) > 20 { // the second may have changed once
		t.Errorf("%d lines", len(lines))
	}
	want := `"msg":"rule","event":"test","value":"\"é` + repeat("x", 1021) + `","socket_id":"` + socketID + `","namespace":"/"}`
	if !strings.HasSuffix(lines[0], want) {
		t.Errorf("logged %s", lines[0])
	}
	if got := newCall("test", `{"a":1}`).run(t, compile(t, "on test {\nlog data.b\n}", rules.Options{})); got != `refused INVALID: Missing field b` {
		t.Error(got)
	}
}
