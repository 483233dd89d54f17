package rules_test

import (
	"testing"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/parser"
	"github.com/caddy-realtime/realtime/rules"
)

func TestStepsDoWhatTheySay(t *testing.T) {
	const big = `{"a":1.10,"n":12345678901234567890, "b":[1, 2],"a\u0062":null}`
	for _, test := range []struct {
		name, steps, args, want string
	}{
		{"emit default target", `emit greeting "hello"`, ``, `emit greeting("hello") self`},
		{"emit all args", `emit x args...`, `1,"a",{}`, `emit x(1,"a",{}) self`},
		{"emit args among others", `emit x 0 args... 9`, `1,2`, `emit x(0,1,2,9) self`},
		{"no args among others", `emit x 0 args... 9`, ``, `emit x(0,9) self`},
		{"bytes as they came", `emit x data data.n data.b`, big, `emit x(` + big + `,12345678901234567890,[1, 2]) self`},
		{"own name", `emit * data`, `1`, `emit test(1) self`},
		{"to a room", `emit x data to data.room`, `{"room":"r"}`, `emit x({"room":"r"}) to [r]`},
		{"to an int", `emit x to data.room`, `{"room":12}`, `emit x() to [12]`},
		{"to a list", `emit x to data`, `["a",7]`, `emit x() to [a 7]`},
		{"to nobody", `emit x to data`, `[]`, `emit x() to []`},
		{"to nobody, by a literal", "emit x to `[]`", ``, `emit x() to []`},
		{"to all", `emit x to *`, ``, `emit x() all`},
		{"except implies all", `emit x except "r"`, ``, `emit x() all except [r]`},
		{"addresses", "emit x to `[user_room(7), socket_room(\"s\"), \"r\", data.r]`", `{"r":"q"}`, `emit x() to [user 7 socket s r q]`},
		{"volatile", `broadcast x to "r" except "q" volatile`, ``, `emit x() to [r] except [q] notself volatile`},
		{"broadcast default", `broadcast x data`, `1`, `emit x(1) all notself`},
		{"room not there", `emit x to data.room`, `{}`, `refused INVALID: Missing field room`},
		{"room null", `emit x to data`, `null`, `refused INVALID: Invalid arguments`},
		{"room a fraction", `emit x to data`, `1.5`, `refused INVALID: Invalid arguments`},
		{"room an object", `emit x to data`, `{}`, `refused INVALID: Invalid arguments`},
		{"rooms nested", `emit x to data`, `[["a"]]`, `refused INVALID: Invalid arguments`},
		{"no data", `ack data`, ``, `ack null`},
		{"field of nothing", `ack data.x`, ``, `refused INVALID: Missing field x`},
		{"index", `ack args[1].x[0]`, `0,{"x":[5]}`, `ack 5`},
		{"index out of range", `ack args[1]`, `0`, `refused INVALID: Invalid arguments`},
		{"duplicate key", `ack data.a`, `{"a":1,"b":2,"\u0062":3}`, `refused INVALID: Invalid arguments`},
		{"duplicate key passed on", `ack data`, `{"a":1,"a":2}`, `ack {"a":1,"a":2}`},
		{"ack nothing", `ack`, `1`, `ack `},
		{"literal", "ack `{\"success\": true, \"z\": data.n, \"a\": [data.x, {\"k\": 1 + 1}]}`", `{"n":1.10,"x":"\u0061"}`,
			`ack {"success":true,"z":1.10,"a":["\u0061",{"k":2}]}`},
		{"choice", "ack `size(data.l) > 1 ? {\"l\": data.l} : data.l`", `{"l":[1, 2.50]}`, `ack {"l":[1, 2.50]}`},
		{"merge", "ack `merge(data, {\"b\": 9, \"c\": data.a})`", `{"a":1.0,"b":2}`, `ack {"a":1.0,"b":9,"c":1.0}`},
		{"emit of a namespace", "emit x data to \"r\" of /chat volatile\nbroadcast x to * of \"/a b\" except data", `1`, `emit x(1) to [r] of /chat volatile; emit x() all of /a b except [1] notself`},
		{"merge twice a key", "ack `merge(data, {})`", `{"a":1,"\u0061":2}`, `refused INVALID: Invalid arguments`},
		{"merge of no map", "ack `merge(data, {})`", `[]`, `refused INVALID: Invalid arguments`},
		{"merge within CEL", "ack `size(merge(data, {\"c\": 1}))`", `{"a":1,"b":2}`, `ack 3`},
		{"merge keeps bytes", "ack `[merge(data, {\"c\": 1})].map(m, m)`", `{"z":1.0,"b":[ ]}`, `ack [{"z":1.0,"b":[ ],"c":1}]`},
		{"bytes through CEL", "ack `data.map(x, x)`", `[[1.0 ], {"a" :1}]`, `ack [[1.0 ],{"a" :1}]`},
		{"require", "require `type(data.text) == string && data.text != \"\"` \"Message text required\"\nack 1", `{"text":"x"}`, `ack 1`},
		{"require false", "require `data.text != \"\"` \"Message text required\"\nack 1", `{"text":""}`, `refused INVALID: Message text required`},
		{"require not evaluable", "require `data.text != \"\"` \"No\" FORBIDDEN", `{}`, `refused FORBIDDEN: No`},
		{"require with a code of its own", "require false \"Pay first\" PAYMENT_REQUIRED_2", ``, `refused PAYMENT_REQUIRED_2: Pay first`},
		{"require without message", "require data.ok", `{"ok":false}`, `refused INVALID: Invalid arguments`},
		{"require without message, missing", "require data.ok", `{}`, `refused INVALID: Missing field ok`},
		{"require no bool", "require data", `1`, `refused INVALID: Invalid arguments`},
		{"require too large", "require `data != \"\"` \"Text\"", `"` + repeat("x", 70000) + `"`, `refused TOO_LARGE: Arguments too large`},
		{"join", `join data`, `"r"`, `join [r]`},
		{"join list", "join `[\"a\", user_room(1)]`", ``, `join [a user 1]`},
		{"join some", "join data refused no\nack no `size(no)` no[0]", `["a","user:eve",2,"","b"]`, `join [a 2 b]; ack ["user:eve",""],2,"user:eve"`},
		{"join all of some", "join data refused no\nack no `no == []`", `"a"`, `join [a]; ack [],true`},
		{"join none", "join `[user_room(1), socket_room(socket.id)]` refused no\nack no", ``, `join []; ack ["user:1","` + socketID + `"]`},
		{"join what is no room", "join data refused no", `["a",{}]`, `refused INVALID: Invalid arguments`},
		{"leave", `leave data`, `["a",1]`, `leave [a 1]`},
		{"if", "if `data > 1` {\nack \"big\"\n}\nif `data <= 1` {\nack \"small\"\n}", `1`, `ack "small"`},
		{"if nested", "if `data > 1` {\nif `data > 2` {\nack \"big\"\n}\nack \"mid\"\n}\nemit x", `2`, `ack "mid"; emit x() self`},
		{"if not evaluable", "if data.x {\nack 1\n}", `{}`, `refused INVALID: Missing field x`},
		{"ignore", "if data {\nignore\n}\nack 1", `true`, `ignore`},
		{"ignore not", "if data {\nignore\n}\nack 1", `false`, `ack 1`},
		{"let", "let id `data.n + 1`\nlet l `[id, {\"x\": data.z}]`\nack id l l[1].x `size(l) + id`", `{"n":1,"z":1.10}`, `ack 2,[2,{"x":1.10}],1.10,4`},
		{"let is evaluated once", "let id uuid()\nrequire `id == id && size(id) == 36` \"Not the same\"", ``, ``},
		{"let in an if", "let a 1\nif data {\nlet b `a + 1`\nack b\n}\nif !data {\nlet b 7\nack b\n}", `true`, `ack 2`},
		{"let is not stored", "let id 1\nack socket.data", ``, `ack {}`},
		{"let of what is not there", "let id data.id\nack 1", `{}`, `refused INVALID: Missing field id`},
		{"let of as much as is read", "let d data\nack `size(d)`", `"` + repeat("x", 65534) + `"`, `ack 65534`},
		{"let of more", "let d data\nack 1", `"` + repeat("x", 65535) + `"`, `refused TOO_LARGE: Arguments too large`},
		{"let is JSON", "let d `[2.0, 2.5, timestamp(0)]`\nack d `type(d[0]) == int`", ``, `ack [2,2.5,"1970-01-01T00:00:00Z"],true`},
		{"let and types", "let ok `data > 1`\nif ok {\nlet room `\"r-\" + string(data)`\njoin room\n}", `2`, `join [r-2]`},
		{"set", "set k `{\"a\": data}`\nack socket.data.k.a", `1.0`, `set k={"a":1.0}; ack 1.0`},
		{"disconnect", "disconnect\nack 1", ``, `disconnect false; ack 1`},
		{"disconnect false", "disconnect false", ``, `disconnect false`},
		{"disconnect expression", "disconnect data", `false`, `disconnect false`},
		{"batch", "batch 100ms updates data to *", `{"a":1}`, `batch 100ms updates({"a":1}) all`},
		{"batch default", "batch 1s updates data", `1`, `batch 1s updates(1) self`},
		{"rate", "rate 10/s\nrate 100/5m burst 7\nack 1", ``, `take test 1 100ms 10; take test 2 3s 7; ack 1`},
		{"rate in minutes", "rate 3/m\nack 1", ``, `take test 1 20s 3; ack 1`},
		{"dedupe", "dedupe data.id 30s\nack data.id", `{"id":"k"}`, `once "k" 30s; ack "k"`},
		{"dedupe of a number", "dedupe data 1m", `7`, `once 7 1m0s`},
		{"dedupe without a key", "dedupe data.id 1m", `{}`, `refused INVALID: Missing field id`},
		{"dedupe with an empty key", "dedupe data 1m", `""`, `refused INVALID: Key required`},
		{"dedupe with an object", "dedupe data 1m", `{}`, `refused INVALID: Key required`},
		{"earlier steps stay", "join \"a\"\nack data.x\njoin \"b\"", `{}`, `join [a]; refused INVALID: Missing field x`},
		{"variables", "ack `[event, nsp, reason, sender, socket.id, socket.recovered, user == null]`", ``,
			`ack ["test","/","","` + socketID + `","` + socketID + `",false,true]`},
		{"socket", "ack socket.rooms socket.handshake.query socket.handshake.auth.n", ``, `ack ["` + socketID + `"],{"v":"1"},7`},
		{"whole socket", "ack socket", ``, `ack {"id":"` + socketID + `","rooms":["` + socketID + `"],"data":{},"recovered":false,"handshake":{"address":"127.0.0.1","query":{"v":"1"},"auth":{"n":7}}}`},
		{"now", "require `now > 1500000000000 && now - now == 0 && now / 1000 > 1`", ``, ``},
		{"functions", "ack `in_room(socket_room(socket.id))` `in_room(\"x\")` `member_count(\"abc\")` `size(uuid())`", ``, `ack true,false,3,36`},
		{"whole numbers", "ack `data[0] + 1` `double(data[1]) * 2.0` `data[0] < data[1]`", `[1,1.5]`, `ack 2,3,true`},
		{"int of an int64 overflow", "ack `type(data) == double`", `12345678901234567890`, `ack true`},
		{"arithmetic mixes ints and doubles", "ack `data[0] * 1.5` `data[1] + 1` `1.5 - data[0]` `data[1] / 2` `3 / data[1]` `now + 0.5 > now`", `[3,1.5]`, `ack 4.5,2.5,-1.5,0.75,2,true`},
		{"arithmetic of ints", "ack `data / 2` `data * 2` `7 / 2` `1 + 1.5` `type(data + 1) == int` `type(data + 1.0) == double`", `7`, `ack 3,14,3,2.5,true,true`},
		{"arithmetic of ints overflows", "ack `data + 9223372036854775807`", `7`, `refused INVALID: Invalid arguments`},
		{"arithmetic mixes no more", "ack `data + \"1\"`", `1`, `refused INVALID: Invalid arguments`},
		{"arithmetic of what is no number", "ack `data * 1.5`", `"x"`, `refused INVALID: Invalid arguments`},
		{"arithmetic of null", "ack `data - 1`", `null`, `refused INVALID: Invalid arguments`},
		{"division by nothing", "ack `data / 0.0`", `1`, `refused INVALID: Invalid arguments`},
		{"division of ints by nothing", "ack `data / 0`", `1`, `refused INVALID: Invalid arguments`},
		{"sums that are used", "join `data + 1`\nlet n `data * 2.0`\nif `n > 3 && data * 1.0 == n / 2` {\nack n\n}", `2`, `join [3]; ack 4`},
		{"string functions", "ack `data.indexOf(\"é\")` `data.lastIndexOf(\"b\")` `data.replace(\"b\", \"x\")` `data.split(\"é\").join(\"-\")`", `"abéb"`,
			`ack 2,3,"axéx","ab-b"`},
		{"has", "ack `has(data.a)` `has(data.b)` `has(args[0].a)`", `{"a":null}`, `ack true,false,true`},
		{"has of no object", "ack `has(data.a)`", `1`, `ack false`},
		{"has of a list", "ack `has(data.a)`", `[]`, `refused INVALID: Invalid arguments`},
		{"has of nobody", "ack `has(user.id)`", ``, `ack false`},
		{"loop variable hides ours", "ack `[1,2].map(data, data + 1)` data", `7`, `ack [2,3],7`},
		{"number too long", "ack `data > 1`", `1` + repeat("0", 40), `refused INVALID: Invalid arguments`},
		{"exponent too large", "ack `data > 1`", `1e999999`, `refused INVALID: Invalid arguments`},
		{"exponent passed on", "ack data", `1e999999`, `ack 1e999999`},
		{"deep", "require `size(data) == 1` \"x\"", repeat("[", 33) + repeat("]", 33), `refused TOO_LARGE: Arguments too large`},
		{"deep enough", "require `size(data) == 1`\nack 1", repeat("[", 32) + repeat("]", 32), `ack 1`},
		{"too large passed on", "emit x data.a", `{"a":"` + repeat("x", 70000) + `"}`, `emit x("` + repeat("x", 70000) + `") self`},
		{"beside something large", "ack `data.b == 1`", `{"a":"` + repeat("x", 70000) + `","b":1}`, `ack true`},
		{"beside very much", "ack data.b", `{` + repeat(`"a":"`+repeat("x", 70)+`",`, 1001) + `"b":1}`, `refused TOO_LARGE: Arguments too large`},
		{"__proto__", "ack data.__proto__", `{"__proto__":1}`, `ack 1`},
		{"NaN", "ack `double(\"NaN\")`", ``, `refused INVALID: Invalid arguments`},
		{"key is no string", "ack `{data: 1}`", `1`, `refused INVALID: Invalid arguments`},
		{"computed key", "ack `{data: 1}`", `"k"`, `ack {"k":1}`},
		{"time", "ack `timestamp(\"2020-01-02T03:04:05Z\")` `duration(\"90s\")`", ``, `ack "2020-01-02T03:04:05Z","1m30s"`},
		{"too many rooms", "join data", `[` + repeat("1,", 130) + `1]`, `refused INVALID: Too many rooms: 131, at most 128`},
		{"too many made rooms", "join `data.map(x, x)`", `[` + repeat("1,", 130) + `1]`, `refused INVALID: Too many rooms: 131, at most 128`},
		{"just as many", "emit x to data", `[` + repeat("1,", 127) + `1]`, `emit x() to [` + repeat("1 ", 127) + `1]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := compile(t, "on test {\n"+test.steps+"\n}", rules.Options{})
			if got := newCall("test", test.args).run(t, set); got != test.want {
				t.Errorf("%s\nwith %s\ngot  %s\nwant %s", test.steps, short(test.args), short(got), short(test.want))
			}
		})
	}
}

func TestRefusedRateAndDedupe(t *testing.T) {
	for steps, want := range map[string]string{
		"rate 1/s\nack 1":       `take test 1 1s 1; refused RATE_LIMITED: Too many requests`,
		"dedupe data 1s\nack 1": `refused LIMIT: Too many keys`,
	} {
		c := newCall("test", `1`)
		c.limit = true
		if got := c.run(t, compile(t, "on test {\n"+steps+"\n}", rules.Options{})); got != want {
			t.Errorf("%s: got %s, want %s", steps, got, want)
		}
	}
}

// A call that waits for another is suspended: its arguments are not where they
// were.
func TestDedupeKeepsArgumentsWhileItWaits(t *testing.T) {
	set := compile(t, "on test {\ndedupe data.id 1s\nif `data.id == \"k\"` {\nack data\n}\n}", rules.Options{})
	c := newCall("test", `{"id":"k","x":1.0}`)
	c.waits = true
	if got, want := c.run(t, set), `once "k" 1s; suspend hold=false`; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	c.done = nil
	c.resume()
	if got, want := c.log(), `ack {"id":"k","x":1.0}`; got != want || c.ended != 1 {
		t.Errorf("got %s, want %s; ended %d times", got, want, c.ended)
	}

	c = newCall("test", `{"id":"k"}`)
	c.waits = true
	c.run(t, set)
	c.done, c.kicked = nil, true
	c.resume()
	if got, want := c.log(), `refused FORBIDDEN: Disconnected`; got != want || c.ended != 1 {
		t.Errorf("expelled meanwhile: got %s, want %s; ended %d times", got, want, c.ended)
	}
}

func TestBinaryValuesKeepTheirPlaces(t *testing.T) {
	const one, zero = `{"_placeholder":true,"num":1}`, `{"_placeholder":true,"num":0}`
	for _, test := range []struct{ name, steps, args, want string }{
		{"all", `ack args...`, one + `,` + zero, `ack ` + one + `,` + zero + ` #0="a" #1="b"`},
		{"renumbered", `ack args[0]`, one + `,` + zero, `ack ` + zero + ` #0="b"`},
		{"in a literal", "ack `{\"x\": args[1], \"y\": data}`", one + `,` + zero, `ack {"x":` + zero + `,"y":` + one + `} #0="a" #1="b"`},
		{"twice", "ack data data", one + `,` + zero, `ack ` + zero + `,` + one + ` #0="b" #1="b"`},
		{"bytes in CEL", "ack `size(data)` `type(data) == bytes` `data == b\"b\"` `[data].map(x, x)[0]`", one + `,` + zero, `ack 1,true,true,` + zero + ` #0="b"`},
		{"made of a string", "ack `bytes(\"q\")`", one + `,` + zero, `ack ` + zero + ` #0="q"`},
		{"not an object", "ack data.num", one + `,` + zero, `refused INVALID: Invalid arguments`},
		{"not for has", "ack `has(data.num)`", one + `,` + zero, `ack false`},
		{"not in socket.data", "set k data", one + `,` + zero, `refused INVALID: Invalid arguments`},
		{"let", "let x `[args[1], 1]`\nack `x[0] == b\"a\"` x", one + `,` + zero, `ack true,[` + zero + `,1] #0="a"`},
		{"merge", "ack `merge({\"a\": 1}, {\"b\": data})`", one + `,` + zero, `ack {"a":1,"b":` + zero + `} #0="b"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := compile(t, "on test {\n"+test.steps+"\n}", rules.Options{})
			c := newCall("test", test.args)
			c.args.Bin = [][]byte{[]byte("a"), []byte("b")}
			if got := c.run(t, set); got != test.want {
				t.Errorf("%s\ngot  %s\nwant %s", test.steps, got, test.want)
			}
		})
	}

	t.Run("a placeholder without attachments is data", func(t *testing.T) {
		set := compile(t, "on test {\nack data.num data\n}", rules.Options{})
		if got, want := newCall("test", one).run(t, set), `ack 1,`+one; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("but not beside one", func(t *testing.T) {
		set := compile(t, "on test {\nack data `b\"x\"`\n}", rules.Options{})
		if got, want := newCall("test", one).run(t, set), `refused INVALID: Invalid arguments`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("10,000 placeholders", func(t *testing.T) {
		set := compile(t, "on test {\nack `[data]`\n}", rules.Options{})
		c := newCall("test", "["+repeat(one+",", 10000)+one+"]")
		c.args.Bin = [][]byte{nil, []byte("b")}
		if got, want := c.run(t, set), `refused TOO_LARGE: Arguments too large`; got != want {
			t.Errorf("got %s, want %s", short(got), want)
		}
	})
}

// A variable outlives the message that it was taken from, which the hub counts.
func TestVariableOutlivesItsMessage(t *testing.T) {
	set := compile(t, "on test {\nlet x `[data, args[1]]`\nask answer question\nack x answer[0]\n}", rules.Options{})
	c := newCall("test", `"a",{"_placeholder":true,"num":0}`)
	bin := []byte("b")
	c.args.Bin = [][]byte{bin}
	c.run(t, set)
	if want := len(`["a",{"_placeholder":true,"num":0}]`) + len(bin); c.kept != want {
		t.Errorf("told to keep %d bytes, want %d", c.kept, want)
	}
	bin[0] = '!'
	c.done = nil
	c.asked(parser.Args{JSON: []byte(`7`)}, nil)
	if got, want := c.log(), `ack ["a",{"_placeholder":true,"num":0}],7 #0="b"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// allow_rooms is asked about rooms that a client chose, also by a variable.
func TestLetAndAllowRooms(t *testing.T) {
	set := compile(t, `on test {
		let mine "mine"
		join mine
		let theirs data.room
		join theirs
	}`, rules.Options{AllowRooms: `room == "open"`})
	for args, want := range map[string]string{
		`{"room":"open"}`: `join [mine]; join [open]`,
		`{"room":"x"}`:    `join [mine]; refused FORBIDDEN: Room not allowed`,
	} {
		if got := newCall("test", args).run(t, set); got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
}

// A socket that finds its rooms again passes allow_rooms, as who it is then.
func TestRecoveredRoomsPassAllowRooms(t *testing.T) {
	set := compile(t, "on test {\n}", rules.Options{AllowRooms: `room == "open" || user.role == room`})
	c := newCall("connect", "")
	c.socket.user, c.socket.claims = "ann", `{"id":"ann","role":"staff"}`
	for room, want := range map[string]bool{"open": true, "staff": true, "board": false} {
		if got := set.AllowsRoom(c, room); got != want {
			t.Errorf("%s: %v", room, got)
		}
	}
	if !compile(t, "on test {\n}", rules.Options{}).AllowsRoom(c, "any") {
		t.Error("without allow_rooms a room is not allowed")
	}
}

func TestAskResumesWithTheAnswer(t *testing.T) {
	set := compile(t, `on test {
		if data.go {
			ask answer question data.q timeout 3s
			if `+"`answer[0] == 1`"+` {
				ask second * answer[1]
				ack `+"`[answer, second, data.q]`"+`
			}
			emit done answer[0]
		}
		emit end data.q
	}`, rules.Options{})
	answer := func(c *fakeCall, json string, bin ...[]byte) string {
		then := c.asked
		c.asked, c.done = nil, nil
		args := parser.Args{JSON: []byte(json), Bin: bin}
		then(args, nil)
		for i := range args.JSON { // valid only during the call
			args.JSON[i] = '!'
		}
		return c.log()
	}
	check := func(t *testing.T, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}

	t.Run("not taken", func(t *testing.T) {
		check(t, newCall("test", `{"go":false,"q":1}`).run(t, set), `emit end(1) self`)
	})
	t.Run("two answers", func(t *testing.T) {
		c := newCall("test", `{"go":true,"q":1.0}`)
		check(t, c.run(t, set), `suspend hold=false; ask question(1.0) 3s`)
		if c.ended != 0 {
			t.Fatal("ended before the answer")
		}
		bin := []byte("b")
		check(t, answer(c, `1,{"_placeholder":true,"num":0}`, bin), `suspend hold=false; ask test({"_placeholder":true,"num":0} #0="b") 10s`)
		bin[0] = '!'
		check(t, answer(c, `2`), `ack [[1,{"_placeholder":true,"num":0}],[2],1.0] #0="b"; emit done(1) self; emit end(1.0) self`)
		if c.ended != 1 {
			t.Errorf("ended %d times", c.ended)
		}
	})
	t.Run("one answer", func(t *testing.T) {
		c := newCall("test", `{"go":true,"q":2}`)
		c.run(t, set)
		check(t, answer(c, `0`), `emit done(0) self; emit end(2) self`)
	})
	t.Run("no argument in the answer", func(t *testing.T) {
		c := newCall("test", `{"go":true,"q":2}`)
		c.run(t, set)
		check(t, answer(c, ``), `refused INVALID: Invalid arguments`)
		if c.ended != 1 {
			t.Errorf("ended %d times", c.ended)
		}
	})
	t.Run("expelled meanwhile", func(t *testing.T) {
		c := newCall("test", `{"go":true,"q":2}`)
		c.run(t, set)
		c.kicked = true
		check(t, answer(c, `0`), `refused FORBIDDEN: Disconnected`)
		if c.ended != 1 {
			t.Errorf("ended %d times", c.ended)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		c := newCall("test", `{"go":true,"q":2}`)
		c.run(t, set)
		c.done = nil
		c.asked(parser.Args{}, &hub.Refusal{Code: hub.Timeout, Message: "No answer"})
		check(t, c.log(), `refused TIMEOUT: No answer`)
		if c.ended != 1 {
			t.Errorf("ended %d times", c.ended)
		}
	})
}
