package ws_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
	"github.com/caddy-realtime/realtime/internal/wsclient"
)

const limit = 100_000

func decode(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// The examples of RFC 6455 section 5.7.
func TestFramesOfTheSpecification(t *testing.T) {
	masked := decode("81 85 37fa213d 7f9f4d5158")
	h, err := ws.Parse(masked, limit, false)
	if err != nil || h.Frame() != len(masked) {
		t.Fatalf("%d bytes, %v", h.Frame(), err)
	}
	f, whole, err := new(ws.Decoder).Add(h, masked, limit)
	if err != nil || !whole || f.Op != ws.OpText || string(f.Payload) != "Hello" {
		t.Errorf("%+v, %v, %v", f, whole, err)
	}
	for want, got := range map[string][]byte{
		"81 05 48656c6c6f":       ws.AppendFrame(nil, ws.OpText, "Hello"),
		"89 05 48656c6c6f":       ws.AppendFrame(nil, ws.OpPing, "Hello"),
		"82 7e 0100":             ws.AppendFrame(nil, ws.OpBinary, make([]byte, 256))[:4],
		"82 7f 0000000000010000": ws.AppendFrame(nil, ws.OpBinary, make([]byte, 65536))[:10],
		"88 00":                  ws.AppendClose(nil, ws.CloseNoStatus, "not sent"),
		"88 04 03ea 6e6f":        ws.AppendClose(nil, ws.CloseProtocol, "no"),
	} {
		if !bytes.Equal(got, decode(want)) {
			t.Errorf("got % x, want %s", got, want)
		}
	}
}

func TestViolationsAreRefusedWithTheirCode(t *testing.T) {
	for frame, code := range map[string]uint16{
		"c1 80 00000000":                   ws.CloseProtocol, // compressed, which was not negotiated
		"91 80 00000000":                   ws.CloseProtocol, // other reserved bits
		"a1 80 00000000":                   ws.CloseProtocol,
		"83 80 00000000":                   ws.CloseProtocol, // reserved opcodes
		"8b 80 00000000":                   ws.CloseProtocol,
		"81 00":                            ws.CloseProtocol, // no mask
		"09 80 00000000":                   ws.CloseProtocol, // a control frame in fragments
		"89 fe":                            ws.CloseProtocol, // a long one
		"81 fe 007d 00000000":              ws.CloseProtocol, // not the shortest length
		"81 ff 000000000000ffff 00000000":  ws.CloseProtocol,
		"81 ff 8000000000000000 00000000":  ws.CloseProtocol, // a negative length
		"82 ff 00000000000186a1":           ws.CloseTooBig,
		"80 80 00000000":                   ws.CloseProtocol, // a continuation of nothing
		"01 80 00000000 81 80 00000000":    ws.CloseProtocol, // a message within another
		"01 81 00000000 61 82 80 00000000": ws.CloseProtocol,
	} {
		_, err := messages(decode(frame), limit, false)
		var v *ws.Error
		if !errors.As(err, &v) || v.Code != code {
			t.Errorf("%s: %v, want the code %d", frame, err, code)
		}
	}
}

func TestLengthIsRefusedBeforeThePayloadComes(t *testing.T) {
	for _, size := range []int{limit, limit + 1} {
		_, err := ws.Parse(wsclient.AppendHeader(nil, wsclient.Binary, size), limit, false)
		if size > limit && err != ws.ErrTooBig || size <= limit && err != ws.ErrIncomplete {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestCloseFramesCarryTheirCode(t *testing.T) {
	for payload, want := range map[string]uint16{
		"": ws.CloseNoStatus, "03e8": 1000, "03e9 627965": 1001, "0fa0": 4000, "1387": 4999, "03f6": 1014,
		"03": 0, "03e7": 0, "03ec": 0, "03ed": 0, "03ee": 0, "03f7": 0, "0bb7": 0, "1388": 0, "03e8 ff": 0, // not on the wire
	} {
		code, err := ws.ParseClose(decode(payload))
		if code != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", payload, code, err)
		}
	}
	long := ws.AppendClose(nil, ws.CloseInvalid, strings.Repeat("x", 200))
	if op, payload, rest := ws.CutFrame(long); op != ws.OpClose || len(payload) != 125 || len(rest) != 0 {
		t.Errorf("%#x of %d bytes, and %d more", op, len(payload), len(rest))
	}
}

func TestCutFrameUndoesAppend(t *testing.T) {
	var frames []byte
	sizes := []int{0, 1, 125, 126, 1<<16 - 1, 1 << 16, 3}
	for i, size := range sizes {
		frames = ws.AppendFrame(frames, ws.OpText+byte(i%2), bytes.Repeat([]byte{byte(i)}, size))
	}
	for i, size := range sizes {
		var op byte
		var payload []byte
		op, payload, frames = ws.CutFrame(frames)
		if op != ws.OpText+byte(i%2) || !bytes.Equal(payload, bytes.Repeat([]byte{byte(i)}, size)) {
			t.Errorf("frame %d: %#x of %d bytes", i, op, len(payload))
		}
	}
	if len(frames) > 0 {
		t.Errorf("%d bytes are left", len(frames))
	}
}
