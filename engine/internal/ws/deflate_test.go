package ws_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
)

const compressed = 0x40 // in the first byte

func TestCompressedMessagesInflate(t *testing.T) {
	d := ws.NewDeflate(100, 15)
	small, large, random := strings.Repeat("s", 99), strings.Repeat("hello ", 100), string(noise(200))
	frames := ws.AppendFrame(nil, ws.OpText, large)
	frames = ws.AppendFrame(frames, ws.OpText, small)
	frames = ws.AppendFrame(frames, ws.OpBinary, random)
	if !d.Applies(len(frames)) {
		t.Fatal("not worth it")
	}
	out := d.Frames(frames)
	for _, want := range []struct {
		message    string
		compressed bool
	}{{large, true}, {small, false}, {random, false}} {
		if (out[0]&compressed != 0) != want.compressed {
			t.Errorf("%.10q: first byte %#x", want.message, out[0])
		}
		var payload []byte
		_, payload, out = ws.CutFrame(out)
		if want.compressed {
			var err error
			if payload, err = ws.Inflate(nil, payload, len(want.message)); err != nil {
				t.Error(err)
			}
		}
		if string(payload) != want.message {
			t.Errorf("got %q", payload)
		}
	}
}

// noise does not compress.
func noise(n int) (b []byte) {
	for x := uint32(1); len(b) < n; x = x*1664525 + 1013904223 {
		b = append(b, byte(x>>24))
	}
	return b
}

func TestSizesThatAreCompressed(t *testing.T) {
	for _, test := range []struct {
		d        ws.Deflate
		from, to int // to 0: nothing is
	}{
		{ws.Deflate{}, 0, 0},
		{ws.NewDeflate(100, 15), 100, 1 << 30},
		{ws.NewDeflate(100, 8), 100, 256},
		{ws.NewDeflate(100, 14), 100, 1 << 14},
	} {
		if test.d.Negotiated() != (test.to > 0) {
			t.Errorf("%+v: negotiated %v", test.d, test.d.Negotiated())
		}
		for size, want := range map[int]bool{test.from - 1: false, test.from: test.to > 0, test.to: test.to > 0, test.to + 1: test.to == 1<<30} {
			if got := test.d.Applies(size); got != want {
				t.Errorf("%+v: %v for %d bytes", test.d, got, size)
			}
		}
	}
}

func TestInflateStopsAtTheLimit(t *testing.T) {
	frames := ws.NewDeflate(1, 15).Frames(ws.AppendFrame(nil, ws.OpBinary, make([]byte, 1<<20)))
	_, bomb, _ := ws.CutFrame(frames)
	dst, err := ws.Inflate(nil, bomb, 1000)
	if err != ws.ErrTooBig || cap(dst) > 2000 {
		t.Errorf("%v, with room for %d bytes", err, cap(dst))
	}
	if dst, err = ws.Inflate([]byte("kept"), bomb, 1<<20+4); err != nil || len(dst) != 1<<20+4 || !bytes.HasPrefix(dst, []byte("kept")) {
		t.Errorf("%d bytes, %v", len(dst), err)
	}
	if _, err := ws.Inflate(nil, []byte{0xff, 0xff}, 1000); err == nil {
		t.Error("malformed data was inflated")
	}
}
