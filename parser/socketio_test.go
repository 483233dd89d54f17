package parser

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// show writes a packet down for comparison.
func show(p *Packet) string {
	s := fmt.Sprintf("%d %s id=%d", p.Type, p.Namespace, p.ID)
	if p.Type == Event {
		s += fmt.Sprintf(" name=%q", p.Name)
	}
	if p.Type == Event || p.Type == Ack {
		s += fmt.Sprintf(" args=%s bin=%x", p.Args.JSON, p.Args.Bin)
	}
	if p.Data != nil {
		s += fmt.Sprintf(" data=%s", p.Data)
	}
	return s
}

// golden are messages without the Engine.IO type, from Socket.IO protocol v5.
// Attachments stand in hexadecimal behind the head, separated by blanks.
var golden = []struct {
	wire, packet string
	alias        bool // decodes to packet, but is written in another form
}{
	{wire: `0`, packet: `0 / id=-1`},
	{wire: `0{"token":"123"}`, packet: `0 / id=-1 data={"token":"123"}`},
	{wire: `0{}`, packet: `0 / id=-1 data={}`},
	{wire: `0/admin,`, packet: `0 /admin id=-1`},
	{wire: `0/admin`, packet: `0 /admin id=-1`, alias: true},
	{wire: `0/custom,{"token":"abc"}`, packet: `0 /custom id=-1 data={"token":"abc"}`},
	{wire: `0{"sid":"80z5xpVUQBhn0f8sAAAA","pid":"dX3Vb-eYFQWDIb5cAAAB"}`, packet: `0 / id=-1 data={"sid":"80z5xpVUQBhn0f8sAAAA","pid":"dX3Vb-eYFQWDIb5cAAAB"}`},
	{wire: `0/admin{"a":1}`, packet: `0 /admin{"a":1} id=-1`, alias: true},
	{wire: `012{"a":1}`, packet: `0 / id=-1 data={"a":1}`, alias: true},
	{wire: `0/,{"a":1}`, packet: `0 / id=-1 data={"a":1}`, alias: true},
	{wire: "0{\"a\":1} \n", packet: `0 / id=-1 data={"a":1}`, alias: true},
	{wire: `1`, packet: `1 / id=-1`},
	{wire: `1/admin,`, packet: `1 /admin id=-1`},
	{wire: `1/admin`, packet: `1 /admin id=-1`, alias: true},
	{wire: `2["echo",1]`, packet: `2 / id=-1 name="echo" args=1 bin=[]`},
	{wire: `2["message",1,"2",{"3":[true]}]`, packet: `2 / id=-1 name="message" args=1,"2",{"3":[true]} bin=[]`},
	{wire: `2/admin,["hello",{}]`, packet: `2 /admin id=-1 name="hello" args={} bin=[]`},
	{wire: `20["x",1]`, packet: `2 / id=0 name="x" args=1 bin=[]`},
	{wire: `2456["message-with-ack",1,"2",{"3":[false]}]`, packet: `2 / id=456 name="message-with-ack" args=1,"2",{"3":[false]} bin=[]`},
	{wire: `2/admin,9007199254740991["x"]`, packet: `2 /admin id=9007199254740991 name="x" args= bin=[]`},
	{wire: `2007["x"]`, packet: `2 / id=7 name="x" args= bin=[]`, alias: true},
	{wire: `2[""]`, packet: `2 / id=-1 name="" args= bin=[]`},
	{wire: `2[1,"a"]`, packet: `2 / id=-1 name="1" args="a" bin=[]`, alias: true},
	{wire: `2["error","x"]`, packet: `2 / id=-1 name="error" args="x" bin=[]`},
	{wire: `2["connection"]`, packet: `2 / id=-1 name="connection" args= bin=[]`},
	{wire: `2["a\"b\\<é>"]`, packet: `2 / id=-1 name="a\"b\\<é>" args= bin=[]`},
	{wire: `2["\u0061" , 1 ,  {"b" : 12345678901234567890} ] `, packet: `2 / id=-1 name="a" args=1 ,  {"b" : 12345678901234567890} bin=[]`, alias: true},
	{wire: `2["plain",{"_placeholder":true,"num":0}]`, packet: `2 / id=-1 name="plain" args={"_placeholder":true,"num":0} bin=[]`},
	{wire: `2["p",{"__proto__":{"x":1},"x":"\ud800"}]`, packet: `2 / id=-1 name="p" args={"__proto__":{"x":1},"x":"\ud800"} bin=[]`},
	{wire: `30["ok"]`, packet: `3 / id=0 args="ok" bin=[]`},
	{wire: `30[]`, packet: `3 / id=0 args= bin=[]`},
	{wire: `3/admin,456[1,"2",{"3":[false]}]`, packet: `3 /admin id=456 args=1,"2",{"3":[false]} bin=[]`},
	{wire: `3["no id"]`, packet: `3 / id=-1 args="no id" bin=[]`},
	{wire: `4/random,{"message":"Invalid namespace"}`, packet: `4 /random id=-1 data={"message":"Invalid namespace"}`},
	{wire: `4/admin,{"message":"Not authorized","data":{"content":"Please retry later","code":7}}`, packet: `4 /admin id=-1 data={"message":"Not authorized","data":{"content":"Please retry later","code":7}}`},
	{wire: `4"old"`, packet: `4 / id=-1 data="old"`},
	{wire: `51-["echo",{"_placeholder":true,"num":0}] 01020304`, packet: `2 / id=-1 name="echo" args={"_placeholder":true,"num":0} bin=[01020304]`},
	{wire: `51-["empty",{"_placeholder":true,"num":0}] -`, packet: `2 / id=-1 name="empty" args={"_placeholder":true,"num":0} bin=[]`},
	{wire: `52-["echo",{"a":{"b":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}}] 02 01`, packet: `2 / id=-1 name="echo" args={"a":{"b":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}} bin=[02 01]`},
	{wire: `52-/admin,789["m",{ "num" : 1 , "_placeholder" : true },{"_placeholder":true,"num":0}] 02 01`, packet: `2 /admin id=789 name="m" args={ "num" : 1 , "_placeholder" : true },{"_placeholder":true,"num":0} bin=[02 01]`},
	{wire: `51-["m",{"\u005fplaceholder":true,"num":0},{"_placeholder":false,"num":7},{"num":9},"_placeholder",{"x":"_placeholder"}] 02`, packet: `2 / id=-1 name="m" args={"\u005fplaceholder":true,"num":0},{"_placeholder":false,"num":7},{"num":9},"_placeholder",{"x":"_placeholder"} bin=[02]`},
	{wire: `62-1["a",{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}}] 0102 03`, packet: `3 / id=1 args="a",{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}} bin=[0102 03]`},
}

// messages splits a golden wire text.
func messages(t *testing.T, wire string) (head []byte, attachments [][]byte) {
	if wire[0] != '5' && wire[0] != '6' {
		return []byte(wire), nil
	}
	i := strings.LastIndexByte(wire, ']') + 1
	for _, s := range strings.Fields(wire[i:]) {
		b := []byte{}
		if _, err := fmt.Sscanf(s, "%x", &b); err != nil && s != "-" {
			t.Fatal(err)
		}
		attachments = append(attachments, b)
	}
	return []byte(wire[:i]), attachments
}

func TestGoldenPacketsAreReadAndWritten(t *testing.T) {
	for _, g := range golden {
		head, attachments := messages(t, g.wire)
		d := SocketIO.NewDecoder(Limits{})
		var p Packet
		done, err := d.Decode(head, false, &p)
		for _, a := range attachments {
			if done || err != nil {
				t.Errorf("%s: complete without its attachments, %v", g.wire, err)
			}
			clear(head) // the message is only valid during the call
			done, err = d.Decode(a, true, &p)
			head, _ = messages(t, g.wire)
		}
		if !done || err != nil {
			t.Errorf("%s: done %v, %v", g.wire, done, err)
			continue
		}
		if got := strings.Replace(show(&p), "bin=[[]]", "bin=[]", 1); got != g.packet {
			t.Errorf("%s\n got  %s\n want %s", g.wire, got, g.packet)
		}
		if g.alias {
			continue
		}
		got, binary, bin := SocketIO.Encode([]byte("x"), &p)
		if string(got) != "x"+string(head) || binary || !reflect.DeepEqual(bin, p.Args.Bin) || len(bin) != len(attachments) {
			t.Errorf("%s is written as %s with %d attachments", g.wire, got, len(bin))
		}
	}
}

func TestMalformedPacketsAreFinal(t *testing.T) {
	args := func(n int) string { return strings.Repeat(`,0`, n) }
	const p0, p1 = `{"_placeholder":true,"num":0}`, `{"_placeholder":true,"num":1}`
	cases := []struct {
		in   string
		want error
	}{
		{``, ErrType}, {`7`, ErrType}, {`9["x"]`, ErrType}, {`abc`, ErrType}, {`-1`, ErrType}, {" 2[\"a\"]", ErrType}, {"\xff", ErrType},
		{`2`, ErrPayload}, {`3`, ErrPayload}, {`312`, ErrPayload}, {`2/admin`, ErrPayload}, {`2/admin,`, ErrPayload}, {`51-`, ErrPayload}, {`61-1`, ErrPayload},
		{`2[]`, ErrPayload}, {`2{}`, ErrPayload}, {`2[null]`, ErrPayload}, {`2[["a"]]`, ErrPayload}, {`2[true]`, ErrPayload}, {`2[{}]`, ErrPayload}, {`2["a"`, ErrPayload}, {`2"a"`, ErrPayload},
		{`3{}`, ErrPayload}, {`3"a"`, ErrPayload}, {`3null`, ErrPayload},
		{`2["connect"]`, ErrPayload}, {`2["connect_error"]`, ErrPayload}, {`2["disconnect"]`, ErrPayload}, {`2["disconnecting"]`, ErrPayload}, {`2["newListener"]`, ErrPayload}, {`2["removeListener"]`, ErrPayload}, {`2["\u0063onnect"]`, ErrPayload},
		{`2abc["a"]`, ErrPayload}, {`2-1["a"]`, ErrPayload}, {`21.5["a"]`, ErrPayload}, {`2 12["a"]`, ErrPayload}, {`2 ["a"]`, ErrPayload}, {`212 ["a"]`, ErrPayload}, {"2\t[\"a\"]", ErrPayload},
		{`212345678901234567890["a"]`, ErrPayload}, {`29007199254740992["a"]`, ErrPayload}, {`2` + strings.Repeat("9", 1000) + `["a"]`, ErrPayload},
		{`0 {}`, ErrPayload}, {`0 `, ErrPayload}, {`0{`, ErrPayload}, {`1{"a":1}`, ErrPayload}, {`1[]`, ErrPayload}, {`1 `, ErrPayload}, {`0admin,`, ErrPayload}, {`4[1]`, ErrPayload},
		{`2["a"]]`, ErrPayload}, {`2["a",]`, ErrPayload}, {`2["a",'b']`, ErrPayload}, {`2["a",01]`, ErrPayload}, {"2[\"a\",\"\xff\"]", ErrPayload}, {"2[\"a\",\"\n\"]", ErrPayload}, {"2[\"\xed\xa0\x80\"]", ErrPayload},
		{"0/a\x1eb,", ErrPayload}, {"0/a\x00", ErrPayload}, {"0/\xff,", ErrPayload}, {"0/a\u0080,", ErrPayload},
		{`2["a",` + strings.Repeat("[", 128) + strings.Repeat("]", 128) + `]`, ErrPayload}, {`2` + strings.Repeat("[", 1<<19), ErrPayload}, {`0` + strings.Repeat(`{"a":`, 129) + `1` + strings.Repeat("}", 129), ErrPayload},
		{`0/` + strings.Repeat("a", 2048), ErrTooLarge}, {`1/` + strings.Repeat("a", 128), ErrTooLarge}, {`2/` + strings.Repeat("a", 128) + `,["a"]`, ErrTooLarge}, {`2["` + strings.Repeat("a", 769) + `"]`, ErrTooLarge}, {`2["` + strings.Repeat(`\u0061`, 129) + `"]`, ErrTooLarge}, {`2[` + strings.Repeat("1", 771) + `]`, ErrTooLarge},
		{`2["a"` + args(1025) + `]`, ErrTooLarge}, {`3[0` + args(1024) + `]`, ErrTooLarge}, {`2["` + strings.Repeat("a", 1_000_000) + `"]`, ErrTooLarge}, {strings.Repeat(`5`, 1_000_001), ErrTooLarge},
		{`5["a"]`, ErrAttachments}, {`5-["a"]`, ErrAttachments}, {`50-["a"]`, ErrAttachments}, {`51["a",` + p0 + `]`, ErrAttachments}, {`51e0-["a",` + p0 + `]`, ErrAttachments}, {`5-1-["a"]`, ErrAttachments}, {`51.0-["a"]`, ErrAttachments}, {`5 1-["a"]`, ErrAttachments}, {`51`, ErrAttachments}, {`5`, ErrAttachments}, {`6`, ErrAttachments}, {`60-[]`, ErrAttachments},
		{`511-["a"]`, ErrPlaceholder}, {`5161-["a"]`, ErrTooManyAttachments}, {`5` + strings.Repeat("9", 1000) + `-["a"]`, ErrTooManyAttachments}, {`618446744073709551617-[]`, ErrTooManyAttachments},
		{`51-["a"]`, ErrPlaceholder}, {`51-["a",` + p1 + `]`, ErrPlaceholder}, {`51-["a",` + p0 + `,` + p0 + `]`, ErrPlaceholder}, {`52-["a",` + p0 + `]`, ErrPlaceholder}, {`52-["a",` + p1 + `,` + p1 + `]`, ErrPlaceholder}, {`51-["a",` + p0 + `,` + p1 + `]`, ErrPlaceholder},
		{`51-["a",{"_placeholder":true,"num":0.5}]`, ErrPlaceholder}, {`51-["a",{"_placeholder":true,"num":-1}]`, ErrPlaceholder}, {`51-["a",{"_placeholder":true,"num":-0}]`, ErrPlaceholder}, {`51-["a",{"_placeholder":true,"num":"0"}]`, ErrPlaceholder}, {`51-["a",{"_placeholder":true,"num":0e0}]`, ErrPlaceholder}, {`51-["a",{"_placeholder":true,"num":99999999999999999999}]`, ErrPlaceholder},
		{`51-["a",{"_placeholder":true}]`, ErrPlaceholder}, {`51-["a",` + p0 + `,{"_placeholder":true}]`, ErrPlaceholder}, {`51-["a",` + p0 + `,{"_placeholder":true,"num":0,"x":1}]`, ErrPlaceholder}, {`51-["a",{"x":1,"_placeholder":true,"num":0}]`, ErrPlaceholder}, {`51-["a",{"num":0,"_placeholder":true,"_placeholder":true}]`, ErrPlaceholder}, {`51-["a",{"_placeholder":true,"_placeholder":true}]`, ErrPlaceholder}, {`51-["a",{"num":0,"num":0}]`, ErrPlaceholder}, {`51-["a",{"num":{"_placeholder":true,"num":0},"\u005fplaceholder":true}]`, ErrPlaceholder},
		{`51-["a"` + strings.Repeat(`,[`+strings.Repeat(p0+`,`, 500)+p0+`]`, 60) + `]`, ErrPlaceholder},
		{`51-[` + p0 + `]`, ErrPayload},
	}
	for _, c := range cases {
		var p Packet
		done, err := SocketIO.NewDecoder(Limits{}).Decode([]byte(c.in), false, &p)
		if done || !errors.Is(err, c.want) {
			t.Errorf("%.60q: %v, want %v", c.in, err, c.want)
		}
	}
}

// An honest mistake costs one packet, not the connection: what is needed to
// refuse it is decoded.
func TestHonestMistakeCostsOnePacket(t *testing.T) {
	args := func(n int) string { return strings.Repeat(`,0`, n) }
	placeholders := func(n int) (s string) {
		for i := range n {
			s += fmt.Sprintf(`,{"_placeholder":true,"num":%d}`, i)
		}
		return s
	}
	long := strings.Repeat("a", 129)
	control := "event: control character in the name"
	for _, c := range []struct {
		in          string
		attachments int
		packet      string
		text        string
		kind        error
	}{
		{`2["a\u0000",1]`, 0, `2 / id=-1 name="" args= bin=[]`, control, ErrPayload},
		{`27["a\n"]`, 0, `2 / id=7 name="" args= bin=[]`, control, ErrPayload},
		{"2/chat,0[\"a\x7f\"]", 0, `2 /chat id=0 name="" args= bin=[]`, control, ErrPayload},
		{"2[\"a\u0085\"]", 0, `2 / id=-1 name="" args= bin=[]`, control, ErrPayload},
		{`2["\u009f"]`, 0, `2 / id=-1 name="" args= bin=[]`, control, ErrPayload},
		{`2["` + long + `"]`, 0, `2 / id=-1 name="" args= bin=[]`, "event: name longer than 128 bytes", ErrTooLarge},
		{`2[` + strings.Repeat("1", 129) + `]`, 0, `2 / id=-1 name="" args= bin=[]`, "event: name longer than 128 bytes", ErrTooLarge},
		{`21["a"` + args(65) + `]`, 0, `2 / id=1 name="a" args= bin=[]`, "args: 65 arguments, at most 64", ErrTooLarge},
		{`2["a"` + args(1024) + `]`, 0, `2 / id=-1 name="a" args= bin=[]`, "args: 1024 arguments, at most 64", ErrTooLarge},
		{`32[0` + args(64) + `]`, 0, `3 / id=2 args= bin=[]`, "args: 65 arguments, at most 64", ErrTooLarge},
		{`0/` + long + `,{"token":"x"}`, 0, `0 /` + long + ` id=-1`, "connect: namespace longer than 128 bytes", ErrTooLarge},
		{`0/chat,"token"`, 0, `0 /chat id=-1`, "auth: must be an object", ErrPayload},
		{`0["x"]`, 0, `0 / id=-1`, "auth: must be an object", ErrPayload},
		{`0null`, 0, `0 / id=-1`, "auth: must be an object", ErrPayload},
		{`511-3["a"` + placeholders(11) + `]`, 11, `2 / id=3 name="a" args= bin=[]`, "args: 11 binary values, at most 10", ErrTooManyAttachments},
		{`611-/chat,3[0` + placeholders(11) + `]`, 11, `3 /chat id=3 args= bin=[]`, "args: 11 binary values, at most 10", ErrTooManyAttachments},
		{`5160-["a",[0` + placeholders(160) + `]]`, 160, `2 / id=-1 name="a" args= bin=[]`, "args: 160 binary values, at most 10", ErrTooManyAttachments},
		{`52-["a\n",{"x":[1` + placeholders(2) + `]}]`, 2, `2 / id=-1 name="" args= bin=[]`, control, ErrPayload},
		{`51-["a"` + args(65) + placeholders(1) + `]`, 1, `2 / id=-1 name="a" args= bin=[]`, "args: 66 arguments, at most 64", ErrTooLarge},
	} {
		d := SocketIO.NewDecoder(Limits{})
		var p Packet
		head := []byte(c.in)
		done, err := d.Decode(head, false, &p)
		for range c.attachments {
			if done || err != nil {
				t.Errorf("%.60s: refused before its attachments came: %v", c.in, err)
			}
			clear(head)
			if held := d.Held(); held > 200 {
				t.Errorf("%.60s: %d bytes are kept", c.in, held)
			}
			done, err = d.Decode([]byte("attachment"), true, &p)
		}
		if !done || err == nil || err.Error() != c.text || !errors.Is(err, c.kind) || show(&p) != c.packet {
			t.Errorf("%.60s: done %v, %v\n got  %s\n want %s: %s", c.in, done, err, show(&p), c.packet, c.text)
		}
		if done, err := d.Decode([]byte(`2["next"]`), false, &p); !done || err != nil {
			t.Errorf("%.60s: then %v", c.in, err)
		}
	}
}

func TestPacketsAtTheLimitsAreAccepted(t *testing.T) {
	for _, in := range []string{
		`0/` + strings.Repeat("a", 127),
		`2["` + strings.Repeat("a", 128) + `"]`,
		`2["` + strings.Repeat(`\u0061`, 128) + `"]`,
		`2["a"` + strings.Repeat(`,0`, 64) + `]`,
		`3[0` + strings.Repeat(`,0`, 63) + `]`,
		`2["a",` + strings.Repeat("[", 127) + strings.Repeat("]", 127) + `]`,
		`2["a","` + strings.Repeat("x", 1_000_000-9) + `"]`,
	} {
		var p Packet
		if done, err := SocketIO.NewDecoder(Limits{}).Decode([]byte(in), false, &p); !done || err != nil {
			t.Errorf("%.60q: %v", in, err)
		}
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	for in, want := range map[string]string{
		`7`:              `unknown packet type "7"`,
		`51[]`:           `illegal attachment count`,
		`5161-["a"]`:     `too many attachments`,
		`2["a",x]`:       `invalid payload: not a JSON value at offset 5`,
		`2["connect"]`:   `invalid payload: "connect" is a reserved event name`,
		`51-["a",false]`: `illegal attachments`,
	} {
		var p Packet
		if _, err := SocketIO.NewDecoder(Limits{}).Decode([]byte(in), false, &p); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

func TestPacketIsCompleteWithItsAttachments(t *testing.T) {
	head := []byte(`52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
	start := func(l Limits) Decoder {
		d := SocketIO.NewDecoder(l)
		if done, err := d.Decode(head, false, new(Packet)); done || err != nil {
			t.Fatal(done, err)
		}
		return d
	}
	var p Packet
	if _, err := start(Limits{}).Decode([]byte(`2["b"]`), false, &p); err != ErrText {
		t.Error(err)
	}
	if _, err := SocketIO.NewDecoder(Limits{}).Decode([]byte{1}, true, &p); err != ErrBinary {
		t.Error(err)
	}

	// Attachments outlive their messages, and the decoder takes more after.
	d := start(Limits{})
	buf := []byte{1}
	if done, err := d.Decode(buf, true, &p); done || err != nil {
		t.Fatal(done, err)
	}
	buf[0] = 2
	if done, err := d.Decode(buf, true, &p); !done || err != nil {
		t.Fatal(done, err)
	}
	kept := p.Args
	if done, err := d.Decode([]byte(`2["b"]`), false, &p); !done || err != nil || string(p.Name) != "b" || p.Args.Bin != nil {
		t.Error(done, err, show(&p))
	}
	if !bytes.Equal(kept.Bin[0], []byte{1}) || !bytes.Equal(kept.Bin[1], []byte{2}) {
		t.Errorf("attachments changed: %x", kept.Bin)
	}

	size := Limits{PacketBytes: len(head) + 3}
	for _, first := range []int{4, 3} { // beyond the limit, and at it
		d = start(size)
		if done, err := d.Decode(make([]byte, first), true, &p); done || err != nil {
			t.Error(done, err)
		}
		if held := d.Held(); (held >= len(head)) != (first == 3) {
			t.Errorf("%d bytes are kept", held)
		}
		if done, err := d.Decode(make([]byte, 1), true, &p); !done || !errors.Is(err, ErrTooLarge) || show(&p) != `2 / id=-1 name="a" args= bin=[]` {
			t.Error(done, err, show(&p))
		}
	}
	d = start(size)
	if _, err := d.Decode(make([]byte, 2), true, &p); err != nil {
		t.Error(err)
	}
	if held := d.Held(); held != len(head)-len("52-")+2 {
		t.Errorf("%d bytes are kept", held)
	}
	if done, err := d.Decode(make([]byte, 1), true, &p); !done || err != nil || d.Held() != 0 {
		t.Error(done, err)
	}
}

func TestAttachmentsAreLimited(t *testing.T) {
	d := SocketIO.NewDecoder(Limits{Attachments: 1})
	if _, err := d.Decode([]byte(`517-["a"]`), false, new(Packet)); err != ErrTooManyAttachments {
		t.Error(err)
	}
	var p Packet
	_, err := d.Decode([]byte(`52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`), false, &p)
	for range 2 {
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Decode([]byte{1}, true, &p)
	}
	if !errors.Is(err, ErrTooManyAttachments) {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, g := range golden {
		if g.wire[0] == '5' || g.wire[0] == '6' {
			head, rest, _ := strings.Cut(g.wire, "] ")
			f.Add([]byte(head+"]"), []byte(rest))
			continue
		}
		f.Add([]byte(g.wire), []byte(nil))
	}
	f.Add([]byte(`2["a",{"b":[1,"\ud83d\ude00"]}]`), []byte("x"))
	f.Fuzz(func(t *testing.T, head, attachment []byte) {
		p, ok := decodeAll(SocketIO, head, attachment)
		if !ok {
			return
		}
		first := show(&p)
		text, binary, bin := SocketIO.Encode(nil, &p)
		if binary || !reflect.DeepEqual(bin, p.Args.Bin) {
			t.Fatalf("%q: written binary", head)
		}
		again, ok := decodeAll(SocketIO, text, attachment)
		if !ok || show(&again) != first {
			t.Fatalf("%q: written as %q\n %s\n %s", head, text, first, show(&again))
		}
		if (p.Type == Event || p.Type == Ack) && !json.Valid(fmt.Appendf(nil, "[%s]", p.Args.JSON)) {
			t.Fatalf("%q: args are not JSON: %q", head, p.Args.JSON)
		}
		rebuild(t, p.Args)
	})
}

// decodeAll decodes head and then attachment as often as is wanted.
func decodeAll(c Codec, head, attachment []byte) (p Packet, ok bool) {
	d := c.NewDecoder(Limits{PacketBytes: 1 << 16})
	done, err := d.Decode(head, false, &p)
	for !done && err == nil {
		done, err = d.Decode(attachment, true, &p)
	}
	if done != (err == nil || isRefused(err)) || done && len(p.Namespace) == 0 || d.Held() != 0 {
		panic(fmt.Sprintf("done %v, %v, %d bytes are kept", done, err, d.Held()))
	}
	return p, err == nil
}

// rebuild passes args through a Builder.
func rebuild(t *testing.T, a Args) {
	var b Builder
	b.AddRaw(a.JSON, a.Bin)
	got, err := b.Args()
	if err != nil || len(got.Bin) != len(a.Bin) || len(a.Bin) == 0 && string(got.JSON) != string(a.JSON) {
		t.Fatalf("rebuilding %s: %s, %v", a.JSON, got.JSON, err)
	}
	b.NextArg()
	b.AddBytes([]byte("more"))
	if got, err := b.Args(); err == nil && checkPlaceholders(got.JSON, len(got.Bin)) != nil {
		t.Fatalf("rebuilding %s: %s", a.JSON, got.JSON)
	}
}

var (
	plainEvent  = []byte(`2["send-message",{"roomId":"general","text":"The quick brown fox jumps over the lazy dog.","id":12345}]`)
	binaryEvent = []byte(`51-["image",{"roomId":"general","data":{"_placeholder":true,"num":0}}]`)
)

func TestPacketsWithoutEscapesAllocateNothing(t *testing.T) {
	d := SocketIO.NewDecoder(Limits{})
	var p Packet
	dst := make([]byte, 0, 512)
	for _, in := range []string{string(plainEvent), `2/chat,17["typing",1,[2]]`, `33["ok"]`, `0{"token":"x"}`, `1/chat,`} {
		message := []byte(in)
		allocs := testing.AllocsPerRun(100, func() {
			if done, err := d.Decode(message, false, &p); !done || err != nil {
				t.Fatal(err)
			}
			dst, _, _ = SocketIO.Encode(dst[:0], &p)
		})
		if allocs != 0 || string(dst) != in {
			t.Errorf("%s: %v allocations, written as %s", in, allocs, dst)
		}
	}
	// One, and with the race detector another one in slices.Grow.
	if fresh := testing.AllocsPerRun(100, func() { SocketIO.Encode(nil, &p) }); fresh > 2 {
		t.Errorf("%v allocations without a buffer", fresh)
	}
}

func BenchmarkDecode(b *testing.B) {
	d := SocketIO.NewDecoder(Limits{})
	var p Packet
	b.ReportAllocs()
	b.SetBytes(int64(len(plainEvent)))
	for b.Loop() {
		if _, err := d.Decode(plainEvent, false, &p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeBinary(b *testing.B) {
	d := SocketIO.NewDecoder(Limits{})
	var p Packet
	attachment := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(binaryEvent, false, &p); err != nil {
			b.Fatal(err)
		}
		if done, err := d.Decode(attachment, true, &p); !done || err != nil {
			b.Fatal(err)
		}
	}
}

// The worst a client can do with placeholders: a megabyte of what might be one.
func BenchmarkPlaceholders(b *testing.B) {
	head := []byte(`51-["a",{"_placeholder":true,"num":0}` + strings.Repeat(`,[`+strings.Repeat(`{"num":1,"_placeholder":0},`, 700)+`0]`, 50) + `]`)
	b.SetBytes(int64(len(head)))
	for b.Loop() {
		if _, err := SocketIO.NewDecoder(Limits{}).Decode(head, false, new(Packet)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	var p Packet
	if _, err := SocketIO.NewDecoder(Limits{}).Decode(plainEvent, false, &p); err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		dst, _, _ = SocketIO.Encode(dst[:0], &p)
	}
}

// What a client sends must not cost a multiple of its size.
func TestPacketCostsNoMultipleOfItsSize(t *testing.T) {
	const size = 900_000
	fill := func(head, part, tail string) []byte {
		return []byte(head + strings.Repeat(part, size/len(part)) + tail)
	}
	inputs := map[string][]byte{
		"brackets":          fill(`2["a"`, `,{}`, `]`),
		"brackets in depth": fill(`2["a",`, `[`, ``),
		"nested arrays":     fill(`2["a",[0`, `,[[[[]]]]`, `]]`),
		"escapes":           fill(`2["a","`, `\u0061`, `"]`),
		"long name":         fill(`2["`, `\u0061`, `"]`),
		"keys":              fill(`0{"a":0`, `,"\u0024bin":0`, `}`),
		"placeholders":      fill(`51-["a",[0`, `,{"_placeholder":true,"num":0}`, `]]`),
		"near placeholders": fill(`51-["a",[{"_placeholder":true,"num":0}`, `,{"_placeholder":false,"num":0}`, `]]`),
		"nested keys":       fill(`51-["a",[{"_placeholder":true,"num":0}`, `,{"num":{"num":{"num":[]}}}`, `]]`),
		"count":             fill(`5`, `9`, `-["a"]`),
		"id":                fill(`2`, `9`, `["a"]`),
	}
	for name, in := range inputs {
		if per := allocated(SocketIO, in); per > 2*size {
			t.Errorf("%s: %d bytes for a message of %d", name, per, len(in))
		}
	}
}

// allocated is the memory that decoding in needs, in bytes.
func allocated(c Codec, in []byte) uint64 {
	var before, after runtime.MemStats
	var p Packet
	runtime.ReadMemStats(&before)
	// Most inputs are refused; that they cost little is the point.
	_, _ = c.NewDecoder(Limits{}).Decode(in, false, &p)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
