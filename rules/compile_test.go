package rules_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/rules"
)

func TestErrorsSayWhereAndWhatToWrite(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		// The rule.
		{"on\n", `Caddyfile:1: on: write exactly one event, as in: on hello { … }`},
		{"on a b {\n}", `Caddyfile:1: on: write exactly one event, as in: on hello { … }`},
		{"\non `a` {\n}", `Caddyfile:2: on: a: a name is fixed, it cannot be an expression; write it bare or in double quotes`},
		{"on a {\nrate 10\n}", `Caddyfile:2: rate: 10 is not a rate; write it as 10/s, 100/m or 100/5m, optionally followed by: burst 20`},
		{"on a {\nrate 0/s\n}", `Caddyfile:2: rate: write it as 10/s, 100/m or 100/5m, optionally followed by: burst 20`},
		{"on a {\nrate x/s\n}", `Caddyfile:2: rate: x/s is not a rate; write it as 10/s, 100/m or 100/5m, optionally followed by: burst 20`},
		{"on a {\nrate 1/x\n}", `Caddyfile:2: rate: 1/x is not a rate; write it as 10/s, 100/m or 100/5m, optionally followed by: burst 20`},
		{"on a {\nrate 1/s burst 0\n}", `Caddyfile:2: rate: burst: 0 is not a whole number greater than 0`},
		{"on a {\nrate 1/100h burst 99999999\n}", `Caddyfile:2: rate: the rate is out of range: the burst must refill within 366 days`},
		{"on connect {\nrate 1/s\n}", `Caddyfile:2: rate: it is only allowed in rules for events that clients send`},
		{"on a {\ndedupe data\n}", `Caddyfile:2: dedupe: the time for which answers are kept is missing`},
		{"on a {\ndedupe data 1s\ndedupe data 1s\n}", `Caddyfile:3: dedupe: a rule can have only one dedupe`},
		{"on disconnect {\ndedupe data 1s\n}", `Caddyfile:2: dedupe: it is only allowed in rules for events that clients send`},
		{"on a {\nfly high\n}", "Caddyfile:2: unknown step fly; the steps are " + strings.Join(rules.StepNames(), ", ")},
		{"on a {\nif true {\nif true {\nbatch soon x 1\n}\n}\n}", `Caddyfile:4: batch: the window: soon is not a duration; write it as 500ms, 10s, 5m or 1h`},
		{"on a {\njoin x {\nack\n}\n}", `Caddyfile:2: join takes no block`},
		{"on error {\n}", `Caddyfile:1: on error: clients cannot send it; the server sends it to clients whose event is refused`},
		{"on token-expired {\n}", `Caddyfile:1: on token-expired: clients cannot send it; the server sends it when a token expires`},
		{"on disconnecting {\n}", `Caddyfile:1: on disconnecting: clients cannot send it; write on disconnect, where socket.rooms still has the socket's rooms`},
		{"on a {\n}\non b {\n}\non a {\n}", `Caddyfile:5: on a: the event has another rule at Caddyfile:1; merge the two`},
		{"on connect {\n}\non connect {\n}", `Caddyfile:3: on connect: the event has another rule at Caddyfile:1; merge the two`},
		{"on a {\nemit x 1 of /chat\n}", `Caddyfile:2: emit: of /chat: to is missing; to * is the whole namespace`},
		{"on a {\nbroadcast x 1 except \"r\" of /chat\n}", `Caddyfile:2: broadcast: of /chat: to is missing`},
		{"on a {\nemit x 1 to \"r\" of chat\n}", `Caddyfile:2: emit: of chat: the name of a namespace begins with /, and is not an expression`},
		{"on a {\nemit x 1 to \"r\" of `nsp`\n}", `Caddyfile:2: emit: nsp: a name is fixed, it cannot be an expression`},
		{"on a {\nemit x 1 to \"r\" of\n}", `Caddyfile:2: emit: the namespace after of is missing`},
		{"on a {\nemit x 1 to \"r\" of /a of /b\n}", `Caddyfile:2: emit: a second of; a step sends to one namespace`},
		{"on a {\nbatch 1s x 1 to \"r\" of /a\n}", `Caddyfile:2: batch: unexpected of`},
		{"on a {\njoin data refused data\n}", `Caddyfile:2: join: data is already a variable`},
		{"on a {\njoin data refused `no`\n}", `Caddyfile:2: join: no: a name is fixed, it cannot be an expression`},
		{"on a {\nleave data refused no\n}", `Caddyfile:2: leave: unexpected refused`},
		// Expressions.
		{"on a {\n\n# nothing\nemit x hello\n}", `Caddyfile:4: emit: hello: undeclared name hello; a string needs quotes, "hello", and a field of the event's first argument is data.hello`},
		{"on a {\nack {\"success\": true}\n}", `Caddyfile:2: ack: {"success":: syntax error: unexpected end of the expression; an expression with spaces or quotes must be in backticks`},
		{"on a {\nemit x `hello + data`\n}", `Caddyfile:2: emit: hello + data: undeclared name hello; a string needs quotes, "hello", and a field of the event's first argument is data.hello`},
		{"on a {\nemit x data.a + data.b\n}", `Caddyfile:2: emit: +: syntax error: unexpected '+'; an expression with spaces or quotes must be in backticks`},
		{"on a {\nemit x data.a + data.b\n}", `Caddyfile:2: emit: +: syntax error: unexpected '+'; an expression with spaces or quotes must be in backticks`},
		{"on a {\njoin data.a + data.b\n}", `Caddyfile:2: join: unexpected +; an expression with spaces or quotes must be in backticks`},
		{"on a {\nrequire data.a != \"\"\n}", `Caddyfile:2: require: unexpected !=; an expression with spaces or quotes must be in backticks`},
		{"on a {\nrequire data.a in user.roles\n}", `Caddyfile:2: require: unexpected in; an expression with spaces or quotes must be in backticks`},
		{"on a {\nrequire `1 + 1`\n}", `Caddyfile:2: require: 1 + 1: a condition must be true or false, this is a number; compare it: x > 0`},
		{"on a {\nrequire `1 + \"a\"`\n}", `Caddyfile:2: require: 1 + "a": + does not take int and string; string(x) makes a string of a number`},
		{"on a {\nrequire\n}", `Caddyfile:2: require: the condition is missing`},
		{"on a {\nrequire true \"x\" Nope\n}", `Caddyfile:2: require: Nope is not a code`},
		{"on a {\nrequire true \"x\" 1A\n}", `Caddyfile:2: require: 1A is not a code`},
		{"on a {\nrequire true \"x\" \"A B\"\n}", `Caddyfile:2: require: A B is not a code`},
		{"on a {\nrequire true \"x\" " + repeat("A", 65) + "\n}", `is not a code: write capitals, digits and underscores, a capital first, at most 64 (OUT_OF_STOCK)`},
		{"on a {\nif data.x\nack 1\n}", `Caddyfile:2: if: the steps are missing; write: if <condition> { … }, with each step on a line of its own`},
		{"on a {\nif data.x {\n# nothing\n}\n}", `Caddyfile:2: if: the steps are missing; write: if <condition> { … }, with each step on a line of its own`},
		{"on a {\nif data.x {\nif data.y {\nack nope\n}\n}\n}", `Caddyfile:4: ack: nope: undeclared name nope`},
		{"on a {\nrequire `data.s.matches(data.p)`\n}", `Caddyfile:2: require: data.s.matches(data.p): the pattern of matches must be a constant string`},
		{"on a {\nrequire `matches(data.s, data.p)`\n}", `the pattern of matches must be a constant string`},
		{"on a {\nack `data.f.format([1])`\n}", `the format of format must be a constant string`},
		{"on a {\nack `timestamp(data.t).getHours(data.tz)`\n}", `a time zone must be a constant string`},
		{"on a {\nrequire `data.s.matches(\"(\")`\n}", `Caddyfile:2: require: data.s.matches("("): error parsing regexp`},
		{"on a {\nack `sets.contains([1], [1])`\n}", `undeclared name sets`},
		{"on a {\nack `[1].distinct()`\n}", `Caddyfile:2: ack: [1].distinct(): there is no function distinct; there are CEL's, such as size and string, and in_room, is_online, last_seen, member_count, members, merge, online, socket_room, user_room, uuid`},
		{"on a {\nack `in_room(1, 2)`\n}", `Caddyfile:2: ack: in_room(1, 2): in_room cannot be called with (int, int); write in_room(room)`},
		{"on a {\nack namespace\n}", `Caddyfile:2: ack: namespace: namespace is a reserved word; the namespace's name is the variable nsp`},
		{"on a {\nack `type(data)`\n}", `Caddyfile:2: ack: type(data): a value of type type(dyn) cannot be sent`},
		{"on a {\nack `user_room(1)`\n}", `Caddyfile:2: ack: user_room(1): a value of type realtime.address cannot be sent`},
		{"on a {\nack `{1: 2}`\n}", `the keys of a map must be strings`},
		{"on a {\nack `{\"a\": 1, \"a\": 2}`\n}", `Caddyfile:2: ack: {"a": 1, "a": 2}: the map has the key "a" twice`},
		{"on a {\nack `" + repeat("1 + ", 2000) + "1`\n}", `expression code point size exceeds limit`},
		{"on a {\njoin true\n}", `Caddyfile:2: join: true: a room must be a string, a whole number, an address or a list of them, not bool`},
		// Steps.
		{"on a {\nemit\n}", `Caddyfile:2: emit: the event is missing`},
		{"on a {\nemit connect\n}", `Caddyfile:2: emit: the name connect is reserved by Socket.IO; choose another`},
		{"on a {\nemit \"a\nb\"\n}", `Caddyfile:2: emit: the name of the event has a control character`},
		{"on \"a\nb\" {\nack 1\n}", `Caddyfile:1: on a\nb: the name of the event has a control character`},
		{"on a {\nemit x data to\n}", `Caddyfile:2: emit: the room after to is missing`},
		{"on a {\nemit x data to \"a\" to \"b\"\n}", "Caddyfile:2: emit: to must not be given twice; write several rooms as one list in backticks: `[\"a\", \"b\"]`"},
		{"on a {\nemit x data except \"a\" except \"b\"\n}", "Caddyfile:2: emit: except must not be given twice; write several rooms as one list in backticks: `[\"a\", \"b\"]`"},
		{"on a {\nemit x data to \"a\" \"b\"\n}", "Caddyfile:2: emit: unexpected \"b\"; write several rooms as one list in backticks: `[\"a\", \"b\"]`"},
		{"on a {\nbatch soon x data\n}", `Caddyfile:2: batch: the window: soon is not a duration; write it as 500ms, 10s, 5m or 1h`},
		{"on a {\nbatch 1s x args...\n}", `Caddyfile:2: batch: args... may be several values, and only one is allowed here; write args for the list`},
		{"on a {\nset k args...\n}", `Caddyfile:2: set: args... may be several values, and only one is allowed here; write args for the list`},
		{"on a {\nlog args...\n}", `Caddyfile:2: log: args... may be several values, and only one is allowed here; write args for the list`},
		{"on a {\nask data q\n}", `Caddyfile:2: ask: data is already a variable; choose another name`},
		{"on a {\nask b q\nask b q\n}", `Caddyfile:3: ask: b is already a variable; choose another name`},
		{"on a {\nask a-b q\n}", `Caddyfile:2: ask: a-b cannot be a name; write letters, digits and _, beginning with a letter`},
		{"on a {\nask while q\n}", `Caddyfile:2: ask: while is a reserved word; choose another name`},
		{"on a {\nask b q timeout 0s\n}", `Caddyfile:2: ask: the timeout: 0s must be greater than 0`},
		{"on a {\nif true {\nask b q\n}\nack b\n}", `Caddyfile:5: ack: b: undeclared name b`},
		{"on a {\nlet data 1\n}", `Caddyfile:2: let: data is already a variable; choose another name`},
		{"on a {\nask b q\nlet b 1\n}", `Caddyfile:3: let: b is already a variable; choose another name`},
		{"on a {\nlet string 1\n}", `Caddyfile:2: let: string is already a variable; choose another name`},
		{"on a {\nlet a-b 1\n}", `Caddyfile:2: let: a-b cannot be a name; write letters, digits and _, beginning with a letter`},
		{"on a {\nlet while 1\n}", `Caddyfile:2: let: while is a reserved word; choose another name`},
		{"on a {\nlet b b\n}", `Caddyfile:2: let: b: undeclared name b`},
		{"on a {\nlet b\n}", `Caddyfile:2: let: the value is missing`},
		{"on a {\nlet b 1 + 1\n}", `Caddyfile:2: let: unexpected +; an expression with spaces or quotes must be in backticks`},
		{"on a {\nlet b args...\n}", `Caddyfile:2: let: args... may be several values, and only one is allowed here; write args for the list`},
		{"on a {\nlet b user_room(1)\n}", `Caddyfile:2: let: user_room(1): a value of type realtime.address cannot be sent`},
		{"on a {\nif true {\nlet b 1\n}\nack b\n}", `Caddyfile:5: ack: b: undeclared name b`},
		{"on a {\nlet b uuid()\nrequire b\n}", `Caddyfile:3: require: b: a condition must be true or false, this is a string; compare it: b != ""`},
		{"on connect {\nask b q\n}", `Caddyfile:2: ask: it is only allowed in rules for events that clients send`},
		{"on disconnect {\nask b q\n}", `Caddyfile:2: ask: it is only allowed in rules for events that clients send`},
		{"on connect {\nack 1\n}", `Caddyfile:2: ack: it is only allowed in rules for events that clients send`},
		{"on connect {\nignore\n}", `Caddyfile:2: ignore: a connect must be answered; require refuses it`},
		{"on connect {\nemit *\n}", `Caddyfile:2: emit: * stands for the name of the client's event; write a name here`},
	} {
		_, err := compileError(test.text, rules.Options{})
		if err == nil {
			t.Errorf("%s\ncompiles, want error %s", short(test.text), test.want)
		} else if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") || strings.Count(err.Error(), "Caddyfile") > 1 && !strings.Contains(err.Error(), "another") {
			t.Errorf("%s\ngot  %v\nwant %s", short(test.text), err, test.want)
		}
	}
}

func TestErrorsOfJSONNameTheStep(t *testing.T) {
	for _, test := range []struct{ json, want string }{
		{`[{"event":"a","steps":[{"ack":{"args":["1","hello"]}}]}]`, `on[0].steps[0]: ack: hello: undeclared name hello`},
		{`[{"event":"b"},{"event":"a","steps":[{"ignore":{}},{"if":{"condition":"true","steps":[{"join":{"rooms":""}}]}}]}]`, `on[1].steps[1].if.steps[0]: join: the expression is missing`},
		{`[{"event":"a"},{"event":"a"}]`, `on[1]: on a: the event has another rule at on[0]; merge the two`},
		{`[{"event":""}]`, `on[0]: on : the event is missing`},
		{`[{"event":"a","steps":[{"emit":{}}]}]`, `on[0].steps[0]: emit: the event is missing`},
		{`[{"event":"a","steps":[{"set":{"value":"1"}}]}]`, `on[0].steps[0]: set: the key is missing`},
		{`[{"event":"a","steps":[{"batch":{"event":"x","arg":"1"}}]}]`, `on[0].steps[0]: batch: the window must be greater than 0`},
		{`[{"event":"a","steps":[{"fly":{}}]}]`, `unknown step fly`},
		{`[{"event":"a","steps":[{"ack":{},"join":{}}]}]`, `a step must be an object with one key, its name; this one has 2`},
		{`[{"event":"a","steps":[{"ack":{"argz":[]}}]}]`, `unknown field "argz"`},
		{`[{"event":"a","step":[]}]`, `unknown field "step"`},
	} {
		var own []rules.Rule
		err := json.Unmarshal([]byte(test.json), &own)
		if err == nil {
			_, err = rules.Compile(own, nil, rules.Options{})
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s\ngot  %v\nwant %s", test.json, err, test.want)
		}
	}
}

// TestStepsReadTheSameFromJSON reads every step from its Caddyfile form and from its JSON form.
func TestStepsReadTheSameFromJSON(t *testing.T) {
	const text = `on test {
		require data.a "No \"a\"" FORBIDDEN
		join data.room
		leave "r"
		emit x data args... "q" to * except data.room volatile
		broadcast * to ` + "`[\"a\"]`" + `
		ack
		ask b question 1 timeout 3s
		let l ` + "`b[0]`" + `
		set k b
		if data.x {
			ignore
		}
		disconnect false
		log data
		batch 100ms y data to "r"
		schema ` + "`{\"type\": \"object\"}`" + `
		rate 10/s burst 20
		dedupe data.id 1m
	}`
	const want = `{"event":"test","steps":[` +
		`{"require":{"condition":"data.a","message":"No \"a\"","code":"FORBIDDEN"},"source":"Caddyfile:2"},` +
		`{"join":{"rooms":"data.room"},"source":"Caddyfile:3"},` +
		`{"leave":{"rooms":"\"r\""},"source":"Caddyfile:4"},` +
		`{"emit":{"event":"x","args":["data","args...","\"q\""],"to":"*","except":"data.room","volatile":true},"source":"Caddyfile:5"},` +
		`{"broadcast":{"event":"*","to":"[\"a\"]"},"source":"Caddyfile:6"},` +
		`{"ack":{},"source":"Caddyfile:7"},` +
		`{"ask":{"name":"b","event":"question","args":["1"],"timeout":"3s"},"source":"Caddyfile:8"},` +
		`{"let":{"name":"l","value":"b[0]"},"source":"Caddyfile:9"},` +
		`{"set":{"key":"k","value":"b"},"source":"Caddyfile:10"},` +
		`{"if":{"condition":"data.x","steps":[{"ignore":{},"source":"Caddyfile:12"}]},"source":"Caddyfile:11"},` +
		`{"disconnect":{"close":"false"},"source":"Caddyfile:14"},` +
		`{"log":{"value":"data"},"source":"Caddyfile:15"},` +
		`{"batch":{"window":"100ms","event":"y","arg":"data","to":"\"r\""},"source":"Caddyfile:16"},` +
		`{"schema":{"inline":{"type":"object"}},"source":"Caddyfile:17"},` +
		`{"rate":{"events":10,"per":"1s","burst":20},"source":"Caddyfile:18"},` +
		`{"dedupe":{"key":"data.id","ttl":"1m0s"},"source":"Caddyfile:19"}],"source":"Caddyfile:1"}`
	parsed, err := parse("Caddyfile", text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(parsed[0])
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var again rules.Rule
	if err := json.Unmarshal(got, &again); err != nil {
		t.Fatal(err)
	}
	if second, err := json.Marshal(again); err != nil || string(second) != want {
		t.Errorf("read back: %s, %v", second, err)
	}
	if _, err := rules.Compile([]rules.Rule{again}, nil, rules.Options{}); err != nil {
		t.Error(err)
	}
	var d rules.Duration
	if err := json.Unmarshal([]byte(`1000000000`), &d); err != nil || fmt.Sprint(d) != "1000000000" {
		t.Errorf("a duration in nanoseconds: %v, %v", d, err)
	}
}

func TestOwnRulesReplaceThoseOfPresets(t *testing.T) {
	preset := func(text string) []rules.Rule {
		r, err := parse("preset", text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	own := preset(`
		on a {
			ack "own"
		}
		on * {
			emit * args... to "any"
		}
		on connect {
			emit hello "own"
		}
		on disconnect {
			broadcast left reason
		}`)
	presets := [][]rules.Rule{preset(`
		on a {
			ack "preset"
			emit a-made
		}
		on b {
			ack "b"
			if true {
				broadcast b-made
			}
			emit b
		}
		on connect {
			require data.never "First"
		}
		on disconnect {
			emit x data.missing
			emit never
		}`), preset(`
		on c {
			ack "c"
		}
		on connect {
			emit hello "second"
		}
		on disconnect {
			emit y to "second"
			if true {
				ignore
			}
			emit never
		}`)}
	set, err := rules.Compile(own, presets, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ event, args, want string }{
		{"a", ``, `ack "own"`},
		{"b", ``, `ack "b"; emit b-made() all notself; emit b() self`},
		{"c", ``, `ack "c"`},
		{"other", `1,2`, `emit other(1,2) to [any]`},
		{"b-made", ``, `refused UNKNOWN_EVENT: Unknown event b-made`},
		{"a-made", ``, `refused UNKNOWN_EVENT: Unknown event a-made`},
		{"error", ``, `refused UNKNOWN_EVENT: Unknown event error`},
		{"token-expired", ``, `refused UNKNOWN_EVENT: Unknown event token-expired`},
		{"auth-refresh", `{}`, ``},
		{"newListener", ``, `refused UNKNOWN_EVENT: Unknown event newListener`},
		{"connect", ``, `refused INVALID: First`},
		{"connect", `{"never":true}`, `emit hello("second") self; emit hello("own") self`},
		{"disconnect", ``, `emit y() to [second]; ignore; emit left("transport close") all notself; refused INVALID: Missing field missing`},
	} {
		c := newCall(test.event, test.args)
		c.reason = "transport close"
		if got := c.run(t, set); got != test.want {
			t.Errorf("%s(%s)\ngot  %s\nwant %s", test.event, test.args, got, test.want)
		}
	}

	empty := compile(t, "\n", rules.Options{})
	for event, want := range map[string]string{"connect": "", "disconnect": "", "x": "refused UNKNOWN_EVENT: Unknown event x"} {
		if got := newCall(event, "").run(t, empty); got != want {
			t.Errorf("without rules, %s: %s", event, got)
		}
	}

	_, err = rules.Compile(nil, [][]rules.Rule{preset("on a {\n}"), preset("\non a {\n}")}, rules.Options{})
	if err == nil || err.Error() != "preset:2: on a: the event has another rule at preset:1; merge the two" {
		t.Errorf("two presets for one event: %v", err)
	}
}

func TestAllowRoomsHoldsForWhatClientsChoose(t *testing.T) {
	o := rules.Options{AllowRooms: `room.startsWith("org:" + user.org + ":") || room == "7"`}
	set := compile(t, `
		on client {
			join data
		}
		on stored {
			join socket.data.room
		}
		on list {
			join `+"`[\"fixed\", data]`"+`
		}
		on fixed {
			join "fixed"
			join `+"`\"org:\" + user.org`"+`
			join user_room(user.id)
			join `+"`\"me:\" + sender`"+`
		}
		on address {
			join user_room(data)
		}`, o)
	for _, test := range []struct{ event, args, want string }{
		{"client", `"org:acme:x"`, `join [org:acme:x]`},
		{"client", `"org:evil:x"`, `refused FORBIDDEN: Room not allowed`},
		{"client", `["org:acme:x","y"]`, `refused FORBIDDEN: Room not allowed`},
		{"client", `7`, `join [7]`},
		{"client", `8`, `refused FORBIDDEN: Room not allowed`},
		{"stored", ``, `refused FORBIDDEN: Room not allowed`},
		{"list", `"org:acme:x"`, `refused FORBIDDEN: Room not allowed`},
		{"fixed", ``, `join [fixed]; join [org:acme]; join [user bob]; join [me:bob]`},
		{"address", `"eve"`, `join [user eve]`},
	} {
		c := newCall(test.event, test.args).as("bob")
		c.socket.data = `{"room":"stored"}`
		if got := c.run(t, set); got != test.want {
			t.Errorf("%s(%s)\ngot  %s\nwant %s", test.event, test.args, got, test.want)
		}
	}
	if got, want := newCall("client", `"org:acme:x"`).run(t, set), `refused FORBIDDEN: Room not allowed`; got != want {
		t.Errorf("anonymous, where allow_rooms cannot be evaluated: %s", got)
	}
	for expr, want := range map[string]string{
		`rooms == "x"`:                `allow_rooms: rooms == "x": undeclared name rooms`,
		`room in data.rooms`:          `allow_rooms: room in data.rooms: data is not known here, since rooms are also checked on recovery, without an event; use room, user`,
		`args.all(x, x == room)`:      `args is not known here`,
		`event != "" && reason == ""`: `is not known here`,
		`size(room)`:                  `allow_rooms: size(room): a condition must be true or false, this is a number; compare it`,
	} {
		if _, err := rules.Compile(nil, nil, rules.Options{AllowRooms: expr}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", expr, err)
		}
	}
}

// TestRunsOfOneSetAreIndependent runs one Set for many sockets at once; the race detector
// judges, and no run may see another's arguments.
func TestRunsOfOneSetAreIndependent(t *testing.T) {
	set := compile(t, "on test {\nrequire `data.n >= 0 && [1, 2].exists(x, x > 1)`\nset n `data.n + 0`\nack `merge(data, {\"s\": sender})` `[data.n].map(x, x)`\n}", rules.Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				n := i*1000 + j
				c := newCall("test", fmt.Sprintf(`{"n":%d}`, n))
				want := fmt.Sprintf(`set n=%d; ack {"n":%d,"s":"%s"},[%d]`, n, n, socketID, n)
				set.Event(c)
				if got := c.log(); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestRefusalOfTheHubEndsTheRule(t *testing.T) {
	set := compile(t, "on test {\njoin \"a\"\nack 1\n}", rules.Options{})
	c := newCall("test", "")
	c.limit = true
	if got, want := c.run(t, set), `refused LIMIT: Too many rooms`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPresetsCompileTogether(t *testing.T) {
	names := rules.PresetNames()
	if want := []string{"chat", "members", "presence", "rejoin", "rooms", "typing", "updates"}; !slices.Equal(names, want) {
		t.Errorf("presets %v, want %v", names, want)
	}
	var all [][]rules.Rule
	for _, name := range names {
		preset, err := rules.LoadPreset(name)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := rules.LoadPreset(name)
		if !reflect.DeepEqual(preset, again) {
			t.Errorf("%s differs from itself", name)
		}
		all = append(all, preset.Rules)
	}
	if _, err := rules.Compile(nil, all, rules.Options{}); err != nil {
		t.Error(err)
	}
	if _, err := rules.LoadPreset("nope"); err == nil || err.Error() != "unknown preset nope; the presets are chat, members, presence, rejoin, rooms, typing, updates" {
		t.Error(err)
	}
	if _, ok := rules.PresetSource("../chat"); ok {
		t.Error("a preset outside")
	}
}

var _ hub.Policy = (*rules.Set)(nil)

func TestNamespacesThatAreNot(t *testing.T) {
	o := rules.Options{IsNamespace: func(name string) bool { return name == "/chat" }}
	compile(t, "on a {\nemit x 1 to \"r\" of /chat\n}", o)
	if _, err := compileError("on a {\nemit x 1 to \"r\" of /chta\n}", o); err == nil || err.Error() != "Caddyfile:2: emit: of /chta: the configuration has no namespace of this name" {
		t.Error(err)
	}
}

// Placeholders are replaced in strings, wherever they stand in a rule, and an
// expression cannot be made of what replaces them.
func TestPlaceholdersAreReplacedInStringsOnly(t *testing.T) {
	o := rules.Options{
		AllowRooms: `room.startsWith("{p}")`,
		Expand: func(text string) (string, error) {
			if strings.Contains(text, "{bad}") {
				return "", errors.New("{bad} has no value")
			}
			return strings.ReplaceAll(text, "{p}", "a\"b"), nil
		},
	}
	set := compile(t, `on "{p}" {
	require `+"`data[\"{p}\"] == \"{p}\" && 'x{p}'.endsWith('{p}')`"+` "No {p}" FORBIDDEN
	join data.room
	set "{p}" 1
	emit "{p}" "{p}" `+"`{\"{p}\": [\"{p}\" + \"!\"], \"c\": \"{other}\"}`"+` to "{p}"
}`, o)
	const event = `a"b`
	if got, want := newCall(event, `{"a\"b":"a\"b","room":"a\"b-1"}`).run(t, set),
		`join [a"b-1]; set a"b=1; emit a"b("a\"b",{"a\"b":["a\"b!"],"c":"{other}"}) to [a"b]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := newCall(event, `{}`).run(t, set), `refused FORBIDDEN: No a"b`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := newCall(event, `{"a\"b":"a\"b","room":"{p}"}`).run(t, set), `refused FORBIDDEN: Room not allowed`; got != want {
		t.Errorf("got %s, want %s", got, want) // what clients send is not replaced
	}
	for _, text := range []string{
		"on \"{bad}\" {\nack\n}", "on a {\nack \"{bad}\"\n}", "on a {\nack `[\"{bad}\"]`\n}", "on a {\nrequire false \"{bad}\"\n}", "on a {\nemit \"{bad}\"\n}", "on a {\nset \"{bad}\" 1\n}",
		"on a {\nemit x to \"r\" of \"/{bad}\"\n}",
	} {
		if _, err := compileError(text, o); err == nil || !strings.Contains(err.Error(), "Caddyfile:") || !strings.HasSuffix(err.Error(), "{bad} has no value") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
