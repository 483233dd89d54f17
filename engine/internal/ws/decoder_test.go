package ws_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
	"github.com/caddy-realtime/realtime/internal/wsclient"
)

// messages decodes input that arrives at once.
func messages(input []byte, limit int, compressed bool) ([]string, error) {
	c := client{limit: limit, compressed: compressed, pace: -1}
	return c.got, c.read(input)
}

// client reads as connections do: it decodes pace frames after each read and
// keeps the others, all of them if pace is negative.
type client struct {
	d          ws.Decoder
	limit      int
	compressed bool
	pace       int
	got        []string
	kept       int // the bytes that the Decoder has told of
}

func (c *client) read(piece []byte) error {
	buf := make([]byte, 64)
	for len(piece) > 0 {
		in, off := c.d.Buffer(buf)
		n := copy(in[off:], piece)
		piece = piece[n:]
		if err := c.decode(slices.Clone(in[:off+n])); err != nil {
			return err
		}
		for c.d.HasBacklog() {
			if err := c.decode(c.d.Backlog()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *client) decode(data []byte) error {
	for i := 0; ; i++ {
		h, err := ws.Parse(data, c.limit, c.compressed)
		if err == ws.ErrIncomplete || err == nil && i == c.pace {
			c.kept += c.d.Keep(data, err == nil)
			return nil
		}
		if err != nil {
			return err
		}
		f, whole, err := c.d.Add(h, data, c.limit)
		if err != nil {
			return err
		}
		if whole {
			c.got = append(c.got, fmt.Sprintf("%x %v %q", f.Op, f.Compressed, f.Payload))
		}
		data = data[h.Frame():]
	}
}

func stream() (frames []byte, want []string) {
	const fragment, last = 0x00, 0x80
	add := func(first byte, payload string) { frames = wsclient.AppendFrame(frames, first, payload) }
	add(wsclient.Text, "hello")
	add(0x01, "in ")
	add(fragment, "three ")
	add(wsclient.Ping, "between")
	add(last, "parts")
	add(wsclient.Binary, strings.Repeat("large", 100))
	add(0x42, "compressed")
	add(last, "")
	add(wsclient.Close, "")
	return frames, []string{`1 false "hello"`, `9 false "between"`, `1 false "in three parts"`,
		fmt.Sprintf("2 false %q", strings.Repeat("large", 100)), `2 true "compressed"`, `8 false ""`}
}

func TestMessagesAreTheSameHoweverTheyArrive(t *testing.T) {
	for piece := 1; piece < 200; piece++ {
		for _, pace := range []int{-1, 1, 2} {
			input, want := stream()
			c := client{limit: limit, compressed: true, pace: pace}
			for p := range slices.Chunk(input, piece) {
				if err := c.read(p); err != nil {
					t.Fatalf("pieces of %d, %d at a time: %v", piece, pace, err)
				}
			}
			if !slices.Equal(c.got, want) {
				t.Fatalf("pieces of %d, %d at a time: got %q", piece, pace, c.got)
			}
			if c.d.Incomplete() || c.kept != 0 {
				t.Fatalf("pieces of %d, %d at a time: %d bytes are left", piece, pace, c.kept)
			}
		}
	}
}

func TestMemoryIsReported(t *testing.T) {
	var d ws.Decoder
	frame := wsclient.AppendFrame(nil, wsclient.Text, "hello")
	kept := d.Keep(frame[:3], false)
	if kept < 3 || !d.Incomplete() {
		t.Errorf("%d bytes are kept of 3", kept)
	}
	if kept += d.Keep(append(frame, frame...), true); kept < 2*len(frame) || d.Incomplete() || !d.HasBacklog() {
		t.Errorf("%d bytes are kept of two frames", kept)
	}
	if kept += d.Append(frame); kept < 3*len(frame) || len(d.Backlog()) != 3*len(frame) {
		t.Errorf("%d bytes are kept of three frames", kept)
	}
	if kept += d.Drop(); kept != 0 || d.HasBacklog() {
		t.Errorf("%d bytes are left", kept)
	}
}

func TestFragmentsAreLimitedTogether(t *testing.T) {
	part := strings.Repeat("x", 60)
	for size, tooBig := range map[int]bool{120: false, 119: true} {
		input := wsclient.AppendFrame(wsclient.AppendFrame(nil, 0x01, part), 0x80, part)
		if _, err := messages(input, size, false); (err == ws.ErrTooBig) != tooBig {
			t.Errorf("120 bytes with a limit of %d: %v", size, err)
		}
	}
}

func TestTheEndComesAfterTheBacklog(t *testing.T) {
	var d ws.Decoder
	if d.End(nil) != nil || d.End(io.EOF) != io.EOF || d.End(nil) != nil {
		t.Error("an error was noted although nothing comes before it")
	}
	frame := wsclient.AppendFrame(nil, wsclient.Text, "hello")
	d.Keep(frame, true)
	if d.End(io.EOF) != io.EOF || d.End(io.ErrClosedPipe) != io.EOF {
		t.Error("not the first error")
	}
	d.Keep(nil, false)
	if d.End(nil) != io.EOF {
		t.Error("the error was forgotten")
	}
}

func TestLargeFrameGrowsInPlace(t *testing.T) {
	var d ws.Decoder
	large := wsclient.AppendFrame(nil, wsclient.Binary, make([]byte, 50_000))
	buf := make([]byte, 1000)
	for sent := 0; sent < len(large); {
		in, off := d.Buffer(buf)
		n := copy(in[off:], large[sent:])
		if sent += n; n == 0 {
			t.Fatal("there is no room to read to")
		}
		if kept := off + n; !bytes.Equal(in[:kept], large[sent-kept:sent]) {
			t.Fatal("what was read before is not there")
		}
		d.Keep(in[:off+n], false)
	}
}

// FuzzDecoder decodes arbitrary bytes at once and in pieces.
func FuzzDecoder(f *testing.F) {
	frames, _ := stream()
	f.Add(frames, 7, 1)
	f.Add([]byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 2, -1)
	f.Fuzz(func(t *testing.T, input []byte, piece, pace int) {
		piece, pace = max(piece, 1), max(pace, 1)
		whole := client{limit: 1000, compressed: true, pace: -1}
		err := whole.read(slices.Clone(input))
		parts := client{limit: 1000, compressed: true, pace: pace}
		var err2 error
		for p := range slices.Chunk(input, piece) {
			if err2 = parts.read(p); err2 != nil {
				break
			}
		}
		if !slices.Equal(whole.got, parts.got) || err != err2 {
			t.Errorf("whole: %q, %v; in parts: %q, %v", whole.got, err, parts.got, err2)
		}
	})
}
