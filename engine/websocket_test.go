package engine_test

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
)

// both runs a test over TCP, where workers read, and over a connection that
// has a goroutine of its own.
func both(t *testing.T, c engine.Config, test func(t *testing.T, s *site)) {
	t.Run("tcp", func(t *testing.T) { test(t, serve(t, c)) })
	t.Run("pipe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, pipe(t, c)) })
	})
}

// Engine.IO v4, section WebSocket; E5, E14 to E16.
func TestWebSocketCarriesMessagesBothWays(t *testing.T) {
	both(t, engine.Config{}, func(t *testing.T, s *site) {
		w := s.open("EIO=4&transport=websocket")
		if open := w.text(); !strings.Contains(open, `"upgrades":[]`) {
			t.Errorf("handshake %q", open)
		}
		for _, n := range []int{0, 1, 124, 125, 126, 65_534, 65_535, 65_536, 999_999} {
			text := "4" + strings.Repeat("ü", n/2) + strings.Repeat("x", n%2)
			w.send(text)
			w.expect(text)
			data := bytes.Repeat([]byte{0xff}, n)
			w.write(frame(0x82, data))
			if first, got := w.next(); first != 0x82 || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes: frame %#x of %d", n, first, len(got))
			}
		}
		w.send("bAQIDBA==") // base64 in a text frame is binary
		if first, got := w.next(); first != 0x82 || string(got) != "\x01\x02\x03\x04" {
			t.Fatalf("frame %#x %x", first, got)
		}
		for _, ignored := range []string{"0", "1", "5", "6", "3"} {
			w.send(ignored)
		}
		w.send("4still here")
		w.expect("4still here")
	})
}

func TestClientThatAsksForBase64GetsIt(t *testing.T) {
	s := serve(t, engine.Config{})
	w := s.open("EIO=4&transport=websocket&b64=1")
	w.text()
	w.write(frame(0x82, []byte{1, 2, 3, 4}))
	w.expect("bAQIDBA==")
}

func TestFragmentsMakeOneMessage(t *testing.T) {
	both(t, engine.Config{MaxPayload: 100}, func(t *testing.T, s *site) {
		w := s.session()
		w.write(frame(0x01, []byte("4a")))
		w.write(frame(0x00, nil))
		w.write(frame(0x89, []byte("ping")))
		w.write(frame(0x80, []byte("b\xc3")[:2]))
		if first, p := w.next(); first != 0x8a || string(p) != "ping" {
			t.Fatalf("frame %#x %q", first, p)
		}
		w.closes(1007) // half a character
		s.echo.closed(t, engine.TransportError)

		w = s.session()
		w.write(frame(0x01, []byte("4\xc3")))
		w.write(frame(0x80, []byte("\xbc")))
		w.expect("4ü")
		// One byte a write.
		for _, c := range frame(0x81, []byte("4slow")) {
			w.write([]byte{c})
		}
		w.expect("4slow")
		w.write(frame(0x01, []byte("4"+strings.Repeat("x", 60))))
		w.write(frame(0x80, []byte(strings.Repeat("x", 40))))
		w.closes(1009)
	})
}

func TestViolationsHaveTheirCloseCodes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		bytes  []byte
		code   uint16
		reason engine.Reason
	}{
		{"too big", frame(0x81, make([]byte, 1001)), 1009, engine.TransportError},
		{"huge length", []byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 1009, engine.TransportError},
		{"negative length", []byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 1002, engine.TransportError},
		{"long length", []byte{0x82, 0xfe, 0, 5, 1, 2, 3, 4}, 1002, engine.TransportError},
		{"utf-8", frame(0x81, []byte("4\xff")), 1007, engine.TransportError},
		{"no mask", []byte{0x81, 0x01, '4'}, 1002, engine.TransportError},
		{"rsv1", frame(0xc1, []byte("4")), 1002, engine.TransportError},
		{"rsv2", frame(0xa1, []byte("4")), 1002, engine.TransportError},
		{"opcode", frame(0x83, []byte("4")), 1002, engine.TransportError},
		{"control opcode", frame(0x8b, nil), 1002, engine.TransportError},
		{"fragmented ping", frame(0x09, nil), 1002, engine.TransportError},
		{"long ping", frame(0x89, make([]byte, 126)), 1002, engine.TransportError},
		{"stray continuation", frame(0x80, nil), 1002, engine.TransportError},
		{"new message within one", append(frame(0x01, []byte("4")), frame(0x81, []byte("4"))...), 1002, engine.TransportError},
		{"close code", frame(0x88, []byte{0x03, 0xed}), 1002, engine.TransportError},
		{"close of one byte", frame(0x88, []byte{3}), 1002, engine.TransportError},
		{"unknown packet", frame(0x81, []byte("abc")), 0, engine.ParseError},
		{"empty packet", frame(0x81, nil), 0, engine.ParseError},
		{"base64", frame(0x81, []byte("b*")), 0, engine.ParseError},
		{"ping packet", frame(0x81, []byte("2")), 0, engine.TransportError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			both(t, engine.Config{MaxPayload: 1000}, func(t *testing.T, s *site) {
				w := s.session()
				w.write(tt.bytes)
				w.closes(tt.code)
				s.echo.closed(t, tt.reason)
			})
		})
	}
}

func TestCloseFrameOfThePeerIsAnswered(t *testing.T) {
	both(t, engine.Config{}, func(t *testing.T, s *site) {
		w := s.session()
		w.write(frame(0x88, []byte{0x03, 0xe8, 'b', 'y', 'e'}))
		w.closes(1000)
		s.echo.closed(t, engine.TransportClose)
		w = s.session()
		w.write(frame(0x88, nil))
		w.closes(0)
		s.echo.closed(t, engine.TransportClose)
		w = s.session()
		w.conn.Close()
		s.echo.closed(t, engine.TransportClose)
	})
}

func TestCloseSendsWhatWaitsFirst(t *testing.T) {
	both(t, engine.Config{}, func(t *testing.T, s *site) {
		w := s.session()
		b := engine.NewBatch()
		for _, text := range []string{"a", "b"} {
			s.echo.last().Send(b, engine.NewFrames(engine.EngineIO, []byte(text), false, nil))
		}
		s.echo.last().Close(engine.ForcedClose)
		s.echo.last().Send(b, engine.NewFrames(engine.EngineIO, []byte("late"), false, nil))
		s.echo.last().Close(engine.ParseError) // only the first reason counts
		b.Flush()
		w.expect("4a", "4b")
		w.closes(0)
		s.echo.closed(t, engine.ForcedClose)
		s.echo.stillOpen(t)
	})
}

func TestUnansweredCloseIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{})
		w := s.session()
		s.echo.last().Close(engine.ForcedClose)
		began := time.Now()
		if first, _ := w.next(); first != 0x88 {
			t.Fatalf("frame %#x", first)
		}
		s.echo.closed(t, engine.ForcedClose)
		if d := time.Since(began); d != 0 {
			t.Errorf("told after %v", d)
		}
		w.ends()
		if d := time.Since(began); d < 4*time.Second || d > 6*time.Second {
			t.Errorf("dropped after %v", d)
		}
	})
}

func TestShutDownClosesSessionsAndRefusesNewOnes(t *testing.T) {
	both(t, engine.Config{}, func(t *testing.T, s *site) {
		w := s.session()
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			s.srv.Close()
		}()
		w.closes(1001)
		<-closed
		s.echo.closed(t, engine.ShuttingDown)
		a := s.do("GET", polling, "")
		if a.status != 503 || a.header.Get("Retry-After") == "" {
			t.Errorf("%d %v", a.status, a.header)
		}
		if _, status, _ := s.upgrade("EIO=4&transport=websocket"); status != 503 {
			t.Errorf("upgrade: %d", status)
		}
	})
}

func TestShutDownAnswersAWaitingPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{})
		pending := s.later("GET", s.poller(), "")
		synctest.Wait()
		s.srv.Close()
		s.expect(<-pending, 200, "1")
		s.echo.closed(t, engine.ShuttingDown)
	})
}

func TestPlainWebSocketCarriesTextAsItIs(t *testing.T) {
	both(t, engine.Config{Plain: true}, func(t *testing.T, s *site) {
		w := s.open("token=abc", "Sec-WebSocket-Protocol: bearer.abc, realtime.v1")
		if p := w.head.Get("Sec-WebSocket-Protocol"); p != "realtime.v1" {
			t.Errorf("protocol %q", p)
		}
		for _, text := range []string{"hello", "", "2", "abc"} {
			w.send(text)
			w.expect(text)
		}
		if s.echo.last().Kind() != engine.PlainText {
			t.Error("kind")
		}
	})
}

func TestPlainWebSocketIsRefusedWhenOff(t *testing.T) {
	s := serve(t, engine.Config{})
	if _, status, _ := s.upgrade(""); status != 400 {
		t.Errorf("status %d", status)
	}
}

// The first subprotocol that a client offers is selected, but never a token.
func TestFirstSubprotocolIsSelectedButNoToken(t *testing.T) {
	s := serve(t, engine.Config{Plain: true})
	for offered, want := range map[string]string{
		"":                                      "",
		"my-app":                                "my-app",
		"my-app, realtime.v1":                   "my-app",
		"bearer.a.b.c":                          "",
		"bearer.a.b.c, my-app":                  "my-app",
		"Bearer.a.b.c,my-app":                   "my-app",
		"realtime.v1, bearer.a.b.c":             "realtime.v1",
		"bearer.realtime.v1, realtime.v":        "realtime.v",
		"bearer":                                "bearer",
		", ,my app,\"x\",a/b, next":             "next",
		"x\r\nSec-WebSocket-Protocol: y":        "x",
		"bearer.a\r\nSec-WebSocket-Protocol: y": "y",
		"é, " + strings.Repeat("x", 257):        "",
		strings.Repeat("x", 256):                strings.Repeat("x", 256),
	} {
		for _, query := range []string{"", "EIO=4&transport=websocket"} {
			w := s.open(query, "Sec-WebSocket-Protocol: "+offered)
			if p := w.head.Get("Sec-WebSocket-Protocol"); p != want {
				t.Errorf("%q offered, with %q: selected %q", offered, query, p)
			}
		}
	}
}

func deflated(text string) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	io.WriteString(w, text)
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
}

const offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"

func TestMessagesFromTheThresholdOnAreCompressed(t *testing.T) {
	both(t, engine.Config{Compression: 100, MaxPayload: 10_000}, func(t *testing.T, s *site) {
		w := s.open("EIO=4&transport=websocket", offer)
		if e := w.head.Get("Sec-WebSocket-Extensions"); e != "permessage-deflate; server_no_context_takeover; client_no_context_takeover" {
			t.Fatalf("extensions %q", e)
		}
		w.text()
		w.write(frame(0xc1, deflated("4small")))
		w.expect("4small") // too small to be compressed
		for size, want := range map[int]byte{99: 0x81, 100: 0xc1} {
			w.write(frame(0x81, []byte("4"+strings.Repeat("x", size-1))))
			if first, _ := w.next(); first != want {
				t.Errorf("frame %#x for a message of %d bytes", first, size)
			}
		}
		long := "4" + strings.Repeat("hello ", 100)
		w.write(append(frame(0x41, deflated(long)[:5]), frame(0x80, deflated(long)[5:])...))
		first, p := w.next()
		if first != 0xc1 || len(p) > 50 {
			t.Fatalf("frame %#x of %d bytes", first, len(p))
		}
		got, _ := io.ReadAll(flate.NewReader(bytes.NewReader(append(p, 0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff))))
		if string(got) != long {
			t.Fatalf("got %q", got)
		}
		w.write(frame(0xc1, []byte{0xff, 0xff}))
		w.closes(1007)

		plain := s.session() // did not offer
		plain.send(long)
		plain.expect(long)
	})
}

func TestCompressionIsNegotiatedByTheRFC(t *testing.T) {
	const base = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	s := serve(t, engine.Config{Compression: 100})
	for offers, want := range map[string]string{
		"permessage-deflate; unknown, permessage-deflate; server_max_window_bits=9": base + "; server_max_window_bits=9",
		"x-webkit-deflate-frame": "",
		`permessage-deflate, "`:  "",
	} {
		w := s.open("EIO=4&transport=websocket", "Sec-WebSocket-Extensions: "+offers)
		if got := w.head.Get("Sec-WebSocket-Extensions"); got != want {
			t.Errorf("%q: answered %q, want %q", offers, got, want)
		}
		w.text()
		w.send("4" + strings.Repeat("x", 200))
		if first, _ := w.next(); (first == 0xc1) != (want != "") {
			t.Errorf("%q: frame %#x", offers, first)
		}
	}
	off := serve(t, engine.Config{}).open("EIO=4&transport=websocket", offer)
	if got, ok := off.head["Sec-Websocket-Extensions"]; ok {
		t.Errorf("without compression: answered %q", got)
	}
}

// A message that does not fit into the agreed window is not compressed: what
// repeats in it would be further back.
func TestMessageBeyondTheWindowIsNotCompressed(t *testing.T) {
	s := serve(t, engine.Config{Compression: 100})
	for bits := 8; bits <= 15; bits++ {
		w := s.open("EIO=4&transport=websocket", fmt.Sprintf("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=%d", bits))
		w.text()
		for size, want := range map[int]byte{1<<bits - 10: 0xc1, 1<<bits + 1: 0x81, 100_000: 0x81} {
			if bits == 15 {
				want = 0xc1
			}
			w.send("4" + strings.Repeat("x", size-1))
			if first, _ := w.next(); first != want {
				t.Errorf("window of %d bits: frame %#x for %d bytes, want %#x", bits, first, size, want)
			}
		}
	}
}

// Compression is as of the session's handshake, also for the WebSocket that it
// upgrades to: only what the session can do is agreed to.
func TestCompressionOfAnUpgrade(t *testing.T) {
	for _, compressed := range []bool{false, true} {
		then, later := engine.Config{}, engine.Config{Compression: 100}
		if compressed {
			then, later = later, then
		}
		s := serve(t, then)
		q := s.poller()
		s.srv.Update(later)
		w := s.open(websocketOf(q), offer)
		if got := w.head.Get("Sec-WebSocket-Extensions"); (got != "") != compressed {
			t.Errorf("compression %v: answered %q", compressed, got)
		}
		w.send("2probe")
		w.expect("3probe")
		w.send("5")
		long := "4" + strings.Repeat("x", 200)
		if compressed {
			w.write(frame(0xc1, deflated(long)))
		} else {
			w.send(long)
		}
		if first, _ := w.next(); (first == 0xc1) != compressed {
			t.Errorf("compression %v: frame %#x", compressed, first)
		}
	}
}

func TestCompressionBombIsTooLarge(t *testing.T) {
	s := serve(t, engine.Config{Compression: 100})
	var b bytes.Buffer
	z, _ := flate.NewWriter(&b, 9)
	z.Write(make([]byte, 1<<20))
	z.Flush()
	first := b.Len()
	z.Write(make([]byte, 1<<20))
	z.Flush()
	bomb := append([]byte(nil), b.Bytes()[:first]...)
	for len(bomb) < 900_000 { // more of the same zeros
		bomb = append(bomb, b.Bytes()[first:]...)
	}
	w := s.open("EIO=4&transport=websocket", offer)
	w.text()
	heap := heapInUse()
	w.write(frame(0xc2, bomb))
	w.closes(1009)
	s.echo.closed(t, engine.TransportError)
	if grown := int64(heapInUse()) - int64(heap); grown > 20<<20 {
		t.Errorf("heap grew by %d", grown)
	}
}
