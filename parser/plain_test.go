package parser

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// plainGolden are frames of plain WebSockets in the direction they have.
var plainGolden = []struct {
	wire, packet string
	only         string // "decode" or "encode" if wire is not the other direction's form
}{
	{`{"event":"chat","args":["hi",{"a":1}],"id":7}`, `2 / id=7 name="chat" args="hi",{"a":1} bin=[]`, ""},
	{`{"event":"chat","args":[]}`, `2 / id=-1 name="chat" args= bin=[]`, ""},
	{`{"event":"chat","args":[1],"ns":"/chat"}`, `2 /chat id=-1 name="chat" args=1 bin=[]`, ""},
	{`{"event":"chat","args":[1],"id":0,"ns":"/chat"}`, `2 /chat id=0 name="chat" args=1 bin=[]`, ""},
	{`{"event":"chat"}`, `2 / id=-1 name="chat" args= bin=[]`, "decode"},
	{` { "id" : 9007199254740991 , "\u0065vent" : "a\u0062", "args" : [ 1 , 2 ] , "ns":"\/x" } `, `2 /x id=9007199254740991 name="ab" args=1 , 2 bin=[]`, "decode"},
	{`{"ack":3,"args":["ok"]}`, `3 / id=3 args="ok" bin=[]`, ""},
	{`{"ack":0,"args":[],"ns":"/chat"}`, `3 /chat id=0 args= bin=[]`, ""},
	{`{"ack":0}`, `3 / id=0 args= bin=[]`, "decode"},
	{`{"connect":"/chat"}`, `0 /chat id=-1`, "decode"},
	{`{"connect":"/chat","auth":{"token":"x"}}`, `0 /chat id=-1 data={"token":"x"}`, "decode"},
	{`{"connected":"/chat","socket":"s_1"}`, `0 /chat id=-1 data={"sid":"s_1","pid":"p"}`, "encode"},
	{`{"connected":"/","socket":"s_1"}`, `0 / id=-1 data={"sid":"s_1"}`, "encode"},
	{`{"disconnect":"/chat"}`, `1 /chat id=-1`, ""},
	{`{"disconnect":"/"}`, `1 / id=-1`, ""},
	{`{"error":{"message":"No"},"ns":"/chat"}`, `4 /chat id=-1 data={"message":"No"}`, "encode"},
	{`{"error":{"code":"INVALID","message":"No"},"id":4}`, `11 / id=4 data={"code":"INVALID","message":"No"}`, "encode"},
	{`{"auth":{"token":"x"}}`, `7 / id=-1 data={"token":"x"}`, ""},
	{`{"open":{"socket":"s_1","user":null,"ping":25000}}`, `8 / id=-1 data={"socket":"s_1","user":null,"ping":25000}`, "encode"},
	{`{"ping":17.5}`, `9 / id=-1 data=17.5`, ""},
	{`{"pong":17.5}`, `10 / id=-1 data=17.5`, "encode"},

	{`{"event":"b","args":[{"$bin":"AQID/w=="},{"x":[{"$bin":""}]}]}`, `2 / id=-1 name="b" args={"_placeholder":true,"num":0},{"x":[{"_placeholder":true,"num":1}]} bin=[010203ff ]`, ""},
	{`{"event":"b","args":[{ "\u0024bin" : "AQID\/w==" }]}`, `2 / id=-1 name="b" args={"_placeholder":true,"num":0} bin=[010203ff]`, "decode"},
	{`{"ack":1,"args":[{"$bin":"AQ=="}]}`, `3 / id=1 args={"_placeholder":true,"num":0} bin=[01]`, ""},
	{`{"event":"b","args":[{"$$bin":"AQ=="}]}`, `2 / id=-1 name="b" args={"$bin":"AQ=="} bin=[]`, ""},
	{`{"event":"b","args":[{"$$$bin":1,"x":{"$$bin":[{"$bin":"AQ=="}]}}]}`, `2 / id=-1 name="b" args={"$$bin":1,"x":{"$bin":[{"_placeholder":true,"num":0}]}} bin=[01]`, ""},
	{`{"event":"b","args":[{"\u0024\u0024bin":1}]}`, `2 / id=-1 name="b" args={"$bin":1} bin=[]`, "decode"},
	{`{"event":"b","args":["$bin",["$$bin"],{"x":"$bin","$bind":1,"bin":2}]}`, `2 / id=-1 name="b" args="$bin",["$$bin"],{"x":"$bin","$bind":1,"bin":2} bin=[]`, ""},
	{`{"event":"b","args":[{"_placeholder":true,"num":0}]}`, `2 / id=-1 name="b" args={"_placeholder":true,"num":0} bin=[]`, "decode"},
	{`{"event":"b","args":[{"_placeholder":false,"num":0},{"$bin":"AQ=="}]}`, `2 / id=-1 name="b" args={"_placeholder":false,"num":0},{"_placeholder":true,"num":0} bin=[01]`, ""},
}

func TestPlainDecodesTheGoldenFrames(t *testing.T) {
	for _, g := range plainGolden {
		if g.only == "encode" {
			continue
		}
		var p Packet
		done, err := PlainJSON.NewDecoder(Limits{}).Decode([]byte(g.wire), false, &p)
		if !done || err != nil || show(&p) != g.packet {
			t.Errorf("%s: %v\n got  %s\n want %s", g.wire, err, show(&p), g.packet)
		}
	}
}

func TestPlainEncodesTheGoldenFrames(t *testing.T) {
	for _, g := range plainGolden {
		if g.only == "decode" {
			continue
		}
		p := parseShown(t, g.packet)
		head, binary, attachments := PlainJSON.Encode([]byte("x"), &p)
		if string(head) != "x"+g.wire || binary || attachments != nil {
			t.Errorf("%s\n is written as %s", g.packet, head)
		}
	}
}

// parseShown is the reverse of show for the packets of plainGolden.
func parseShown(t *testing.T, s string) (p Packet) {
	t.Helper()
	head, data, _ := strings.Cut(s, " data=")
	head, bin, _ := strings.Cut(head, " bin=[")
	head, args, _ := strings.Cut(head, " args=")
	if _, err := fmt.Sscanf(head, "%d %s id=%d", &p.Type, &p.Namespace, &p.ID); err != nil {
		t.Fatal(s, err)
	}
	if _, name, ok := strings.Cut(head, " name="); ok {
		p.Name = []byte(strings.Trim(name, `"`))
	}
	p.Args.JSON = []byte(args)
	if strings.Contains(args, `"_placeholder":true`) {
		for _, h := range strings.Split(strings.TrimSuffix(bin, "]"), " ") {
			var v []byte
			if _, err := fmt.Sscanf(h, "%x", &v); err != nil && h != "" {
				t.Fatal(s, err)
			}
			p.Args.Bin = append(p.Args.Bin, v)
		}
	}
	if data != "" {
		p.Data = []byte(data)
	}
	return p
}

// A placeholder that is plain data goes out as it is.
func TestPlaceholderThatIsDataStays(t *testing.T) {
	p := Packet{Type: Event, ID: NoID, Name: []byte("e"), Args: Args{JSON: []byte(placeholder0)}}
	head, _, _ := PlainJSON.Encode(nil, &p)
	if want := `{"event":"e","args":[` + placeholder0 + `]}`; string(head) != want {
		t.Errorf("%s, want %s", head, want)
	}
}

// A frame that is not an object is final: the client speaks another protocol.
func TestPlainFrameThatIsNotAnObjectIsFinal(t *testing.T) {
	for in, want := range map[string]error{
		``: ErrPayload, `x`: ErrPayload, `{"event":"a"}{}`: ErrPayload, "{\"event\":\"\xff\"}": ErrPayload,
		`[]`: ErrPayload, `1`: ErrPayload, `null`: ErrPayload, ` "event"`: ErrPayload, `{"event":"a",}`: ErrPayload,
		`{"event":"a","args":` + strings.Repeat("[", 129) + strings.Repeat("]", 129) + `}`: ErrPayload, strings.Repeat(`{"event":`, 100_000): ErrPayload,
		`{"event":"` + strings.Repeat("a", 1_000_000) + `"}`: ErrTooLarge,
	} {
		var p Packet
		done, err := PlainJSON.NewDecoder(Limits{}).Decode([]byte(in), false, &p)
		if done || !errors.Is(err, want) {
			t.Errorf("%.80q: %v, want %v", in, err, want)
		}
	}
	if _, err := PlainJSON.NewDecoder(Limits{}).Decode([]byte(`{"ping":1}`), true, new(Packet)); err != ErrBinary {
		t.Error(err)
	}
}

// Any other mistake costs the frame, and its error names the member.
func TestPlainMistakeCostsTheFrame(t *testing.T) {
	const (
		none    = "a frame must have one of the members event, ack, connect, disconnect, auth and ping"
		id      = "must be a whole number from 0 to 9007199254740991"
		foreign = "does not belong into this frame"
		bin     = `args: a binary value must be {"$bin": "<base64>"}, and the key $bin in data $$bin`
		beside  = "args: an object with the key _placeholder cannot go together with binary values"
	)
	for in, want := range map[string]string{
		`{}`: none, `{"args":[1]}`: none, `{"id":1}`: none, `{"ns":"/x"}`: none,
		`{"event":1}`: "event: must be a string", `{"event":null}`: "event: must be a string", `{"event":["a"]}`: "event: must be a string",
		`{"event":"a\u0000"}`: "event: control character in the name", `{"event":"connect"}`: "event: reserved event name", `{"event":"\u0064isconnect"}`: "event: reserved event name",
		`{"event":"` + strings.Repeat("a", 129) + `"}`: "event: name longer than 128 bytes", `{"event":"` + strings.Repeat("a", 900_000) + `"}`: "event: name longer than 128 bytes",
		`{"event":"a","event":"b"}`: "event: more than once", `{"event":"a","\u0065vent":"a"}`: "event: more than once",
		`{"event":"a","ack":1}`: "ack: " + foreign, `{"event":"a","auth":{}}`: "auth: " + foreign, `{"ack":1,"id":1}`: "id: " + foreign, `{"connect":"/x","args":[]}`: "args: " + foreign, `{"disconnect":"/x","ns":"/x"}`: "ns: " + foreign, `{"ping":1,"id":1}`: "id: " + foreign,
		`{"event":"a","data":1}`: `"data": unknown member`, `{"evnet":"a","id":1}`: `"evnet": unknown member`, `{"connected":"/x"}`: `"connected": unknown member`, `{"pong":1}`: `"pong": unknown member`, `{"open":{}}`: `"open": unknown member`, `{"error":{}}`: `"error": unknown member`,
		`{"event":"a","\u009bx":1}`: `"\u009bx": unknown member`, `{"event":"a","` + strings.Repeat("é", 1000) + `":1}`: `"` + strings.Repeat(`\u00e9`, 6) + `\u0…: unknown member`,
		`{"event":"a","args":1}`: "args: must be an array", `{"event":"a","args":{}}`: "args: must be an array", `{"event":"a","args":null}`: "args: must be an array",
		`{"event":"a","args":[0` + strings.Repeat(",0", 64) + `]}`: "args: 65 arguments, at most 64",
		`{"event":"a","id":-1}`: "id: " + id, `{"event":"a","id":1.5}`: "id: " + id, `{"event":"a","id":"1"}`: "id: " + id, `{"event":"a","id":9007199254740992}`: "id: " + id, `{"event":"a","id":null}`: "id: " + id,
		`{"ack":"1"}`: "ack: " + id, `{"ack":null}`: "ack: " + id,
		`{"event":"a","ns":"x"}`: "ns: must begin with a slash", `{"event":"a","ns":""}`: "ns: must begin with a slash", `{"event":"a","ns":1}`: "ns: must be a string",
		`{"event":"a","ns":"/a,b"}`: "ns: must not have a comma or a control character", `{"event":"a","ns":"/\u002c"}`: "ns: must not have a comma or a control character", `{"event":"a","ns":"/\n"}`: "ns: must not have a comma or a control character",
		`{"event":"a","ns":"/` + strings.Repeat("a", 128) + `"}`: "ns: longer than 128 bytes",
		`{"connect":"x"}`: "connect: must begin with a slash", `{"connect":"/x","auth":1}`: "auth: must be an object", `{"disconnect":true}`: "disconnect: must be a string",
		`{"auth":"x"}`: "auth: must be an object", `{"auth":null}`: "auth: must be an object", `{"ping":"1"}`: "ping: must be a number", `{"ping":{}}`: "ping: must be a number",
		`{"ping":` + strings.Repeat("1", 33) + `}`: "ping: longer than 32 digits",
		`{"event":"a","args":[{"$bin":1}]}`:        bin, `{"event":"a","args":[{"$bin":"AQ==","x":1}]}`: bin, `{"event":"a","args":[{"x":1,"$bin":"AQ=="}]}`: bin, `{"event":"a","args":[{"$bin":"AQ==","$bin":"AQ=="}]}`: bin, `{"event":"a","args":[{"$bin":{"$bin":"AQ=="}}]}`: bin,
		`{"event":"a","args":[{"$bin":"A"}]}`: "args: $bin is not base64", `{"event":"a","args":[{"$bin":"?"}]}`: "args: $bin is not base64",
		`{"event":"a","args":[{"_placeholder":true,"num":0},{"$bin":"AQ=="}]}`: beside, `{"event":"a","args":[{"$bin":"AQ=="},{"_placeholder":true,"num":1}]}`: beside, `{"event":"a","args":[{"$bin":"AQ=="},{"_placeholder":true}]}`: beside,
		`{"event":"a","args":[0` + strings.Repeat(`,{"$bin":""}`, 11) + `]}`: "args: more than 10 binary values",
	} {
		var p Packet
		done, err := PlainJSON.NewDecoder(Limits{}).Decode([]byte(in), false, &p)
		if !done || err == nil || err.Error() != want {
			t.Errorf("%.80q: done %v, %v, want %v", in, done, err, want)
		}
	}
}

// An error answers the frame that it is about, as far as that says which it is.
func TestPlainRefusedSaysWhich(t *testing.T) {
	for in, want := range map[string]string{
		`{"event":1,"id":7,"ns":"/chat"}`:                              `2 /chat id=7 name="" args= bin=[]`,
		`{"id":7,"ns":"/chat","args":1,"event":"a"}`:                   `2 /chat id=7 name="" args= bin=[]`,
		`{"event":"a","args":[1],"id":7,"x":1}`:                        `2 / id=7 name="" args= bin=[]`,
		`{"event":"a","args":1,"id":"7","ns":"/chat"}`:                 `2 /chat id=-1 name="" args= bin=[]`,
		`{"event":"a","id":7,"ns":"chat"}`:                             `2 / id=7 name="" args= bin=[]`,
		`{"ack":7,"args":1}`:                                           `3 / id=7 args= bin=[]`,
		`{"connect":"/chat","auth":1}`:                                 `0 /chat id=-1`,
		`{"args":[1],"id":7}`:                                          `0 / id=7`,
		`{"event":"a","args":[{"$bin":"AQ=="}],"id":7,"x":{"$bin":1}}`: `2 / id=7 name="" args= bin=[]`,
	} {
		var p Packet
		done, err := PlainJSON.NewDecoder(Limits{}).Decode([]byte(in), false, &p)
		if !done || err == nil || show(&p) != want {
			t.Errorf("%s: done %v, %v\n got  %s\n want %s", in, done, err, show(&p), want)
		}
	}
}

func TestPlainFramesAllocateNothing(t *testing.T) {
	d := PlainJSON.NewDecoder(Limits{})
	message := []byte(`{"event":"send-message","args":[{"roomId":"general","text":"hi"}],"id":3,"ns":"/chat"}`)
	var p Packet
	dst := make([]byte, 0, 512)
	allocs := testing.AllocsPerRun(100, func() {
		if done, err := d.Decode(message, false, &p); !done || err != nil {
			t.Fatal(err)
		}
		dst, _, _ = PlainJSON.Encode(dst[:0], &p)
	})
	if allocs != 0 || string(dst) != string(message) {
		t.Errorf("%v allocations, written as %s", allocs, dst)
	}
}

func FuzzPlain(f *testing.F) {
	for _, g := range plainGolden {
		f.Add([]byte(g.wire))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, ok := decodeAll(PlainJSON, data, nil)
		if !ok {
			return
		}
		head, _, _ := PlainJSON.Encode(nil, &p)
		if !json.Valid(head) {
			t.Fatalf("%q: written as %q", data, head)
		}
		if p.Type != Event && p.Type != Ack {
			return
		}
		first := show(&p)
		again, ok := decodeAll(PlainJSON, head, nil)
		if !ok || show(&again) != first {
			t.Fatalf("%q: written as %q\n %s\n %s", data, head, first, show(&again))
		}
		rebuild(t, p.Args)
		crossOver(t, &p)
	})
}

// crossOver sends p to a Socket.IO client, which must understand it.
func crossOver(t *testing.T, p *Packet) {
	d := SocketIO.NewDecoder(Limits{})
	head, _, attachments := SocketIO.Encode(nil, p)
	var got Packet
	done, err := d.Decode(head, false, &got)
	for _, a := range attachments {
		if done || err != nil {
			break
		}
		done, err = d.Decode(a, true, &got)
	}
	if !done || err != nil || show(&got) != show(p) {
		t.Fatalf("%s\n as %q: %v\n %s", show(p), head, err, show(&got))
	}
}

func BenchmarkPlainDecode(b *testing.B) {
	d := PlainJSON.NewDecoder(Limits{})
	message := []byte(`{"event":"send-message","args":[{"roomId":"general","text":"The quick brown fox jumps over the lazy dog.","id":12345}]}`)
	var p Packet
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		if _, err := d.Decode(message, false, &p); err != nil {
			b.Fatal(err)
		}
	}
}

func TestPlainFrameCostsNoMultipleOfItsSize(t *testing.T) {
	const size = 900_000
	for name, part := range map[string]string{
		"brackets": `,{}`, "dollars": `,{"$$bin":0}`, "escaped dollars": `,{"\u0024$bin":0}`, "escaped keys": `,{"\u0061":0}`,
		"binary": `,{"$bin":""}`, "placeholders": `,` + placeholder0, "strings": `,"\u0024$bin"`,
	} {
		in := []byte(`{"event":"a","args":[[0` + strings.Repeat(part, size/len(part)) + `]]}`)
		if n := allocated(PlainJSON, in); n > 6*size {
			t.Errorf("%s: %d bytes for a message of %d", name, n, len(in))
		}
	}
	long := []byte(`{"event":"a","args":[{"$bin":"` + strings.Repeat("AAAA", size/4) + `"}]}`)
	if n := allocated(PlainJSON, long); n > 2*size {
		t.Errorf("one binary value: %d bytes for a message of %d", n, len(long))
	}
}
