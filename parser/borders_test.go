package parser

import (
	"slices"
	"strings"
	"testing"
)

// Each pair of messages is the last that is taken and the first that is not.
func TestPacketsAtTheBorderOfALimitAreTaken(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	args := func(n int) string { return strings.Repeat(",0", n) }
	name := func(n int) string { return strings.Repeat("n", n) }
	for border, c := range map[string]struct {
		codec        Codec
		taken, never string
	}{
		"bytes of a packet":          {SocketIO, `2["a","` + name(91) + `"]`, `2["a","` + name(92) + `"]`},
		"bytes of a plain frame":     {PlainJSON, `{"event":"` + name(88) + `"}`, `{"event":"` + name(89) + `"}`},
		"nesting of a packet":        {SocketIO, `2["a",` + deep(127) + `]`, `2["a",` + deep(128) + `]`},
		"nesting of a plain frame":   {PlainJSON, `{"event":"a","args":` + deep(128) + `}`, `{"event":"a","args":` + deep(129) + `}`},
		"arguments":                  {SocketIO, `2["a"` + args(64) + `]`, `2["a"` + args(65) + `]`},
		"arguments of a plain frame": {PlainJSON, `{"event":"a","args":[0` + args(63) + `]}`, `{"event":"a","args":[0` + args(64) + `]}`},
		"bytes of a namespace":       {SocketIO, `0/` + name(127), `0/` + name(128)},
		"namespace of a plain frame": {PlainJSON, `{"connect":"/` + name(127) + `"}`, `{"connect":"/` + name(128) + `"}`},
		"bytes of a name":            {PlainJSON, `{"event":"` + name(128) + `"}`, `{"event":"` + name(129) + `"}`},
		"acknowledgement id":         {PlainJSON, `{"ack":9007199254740991}`, `{"ack":9007199254740992}`},
		"digits of a ping":           {PlainJSON, `{"ping":` + strings.Repeat("1", 32) + `}`, `{"ping":` + strings.Repeat("1", 33) + `}`},
	} {
		limits := Limits{}
		if strings.HasPrefix(border, "bytes of a p") {
			limits.PacketBytes = 100
		}
		for in, want := range map[string]bool{c.taken: true, c.never: false} {
			if done, err := c.codec.NewDecoder(limits).Decode([]byte(in), false, new(Packet)); want != (done && err == nil) {
				t.Errorf("%s: %.80s: %v, %v", border, in, done, err)
			}
		}
	}
}

func TestAsManyBinaryValuesAsAllowedAreTaken(t *testing.T) {
	const two = `{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}`
	for limit, want := range map[int]bool{2: true, 1: false} {
		d := SocketIO.NewDecoder(Limits{Attachments: limit})
		var p Packet
		_, err := d.Decode([]byte(`52-["a",`+two+`]`), false, &p)
		for range 2 {
			if err == nil {
				_, err = d.Decode([]byte{1}, true, &p)
			}
		}
		if want != (err == nil) {
			t.Errorf("two of at most %d: %v", limit, err)
		}
	}
}

func TestARefusedPacketHoldsItsNames(t *testing.T) {
	d := SocketIO.NewDecoder(Limits{})
	head := `51-/chat,["name"` + strings.Repeat(",0", 65) + `,{"_placeholder":true,"num":0}]`
	if _, err := d.Decode([]byte(head), false, new(Packet)); err != nil || d.Held() != len("/chat"+"name") {
		t.Errorf("%d bytes are held, %v", d.Held(), err)
	}
}

func TestNamesHaveNoControlCharacters(t *testing.T) {
	for name, want := range map[string]bool{
		"a b": true, "a~": true, "a\u00a0b": true, "ÿ": true, "\u2028": true,
		"a\x1f": false, "\x00": false, "a\x7fb": false, "\u0080": false, "a\u009f": false,
		"a\xc2": false, "\xc2": false, // cut within a character
	} {
		for _, in := range []string{`0/` + name + `,`, `2["` + name + `"]`} {
			if done, err := SocketIO.NewDecoder(Limits{}).Decode([]byte(in), false, new(Packet)); want != (done && err == nil) {
				t.Errorf("%q: %v, %v", in, done, err)
			}
		}
	}
}

// Without binary values, what looks like a placeholder is data.
func TestPlainFramesKeepLiteralPlaceholders(t *testing.T) {
	const args = `{"_placeholder":true,"num":0},{"$bin":1}`
	const frame = `{"event":"a","args":[{"_placeholder":true,"num":0},{"$$bin":1}]}`
	var p Packet
	if done, err := PlainJSON.NewDecoder(Limits{}).Decode([]byte(frame), false, &p); !done || err != nil || string(p.Args.JSON) != args {
		t.Errorf("%s is read as %s, %v", frame, p.Args.JSON, err)
	}
	p = Packet{Type: Event, ID: NoID, Name: []byte("a"), Args: Args{JSON: []byte(args)}}
	if head, _, _ := PlainJSON.Encode(nil, &p); string(head) != frame {
		t.Errorf("%s is written as %s", args, head)
	}
}

var sink []byte // keeps memory on the heap

func TestEncodingAllocatesOnce(t *testing.T) {
	text := func(n int) []byte { return []byte(strings.Repeat("x", n)) }
	once := testing.AllocsPerRun(10, func() { sink = slices.Grow([]byte(nil), 1000) }) // with -race, it takes two
	for name, p := range map[string]Packet{
		"event": {Type: Event, ID: 1 << 50, Namespace: text(128), Name: text(128), Args: Args{JSON: text(768)}},
		"error": {Type: ConnectError, ID: NoID, Namespace: text(128), Data: text(896)},
	} {
		for _, codec := range []Codec{SocketIO, PlainJSON} {
			if n := testing.AllocsPerRun(10, func() { sink, _, _ = codec.Encode(nil, &p) }); n > once {
				t.Errorf("%s: %T: %v allocations, want %v", name, codec, n, once)
			}
		}
	}
}
