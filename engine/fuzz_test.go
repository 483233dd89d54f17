package engine_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
)

// FuzzWebSocket sends arbitrary bytes, in two ways of cutting them, and
// expects the same messages and the same end from both.
func FuzzWebSocket(f *testing.F) {
	f.Add(frame(0x81, []byte("4hello")), 3)
	f.Add(append(frame(0x01, []byte("4a")), frame(0x80, []byte("b"))...), 1)
	f.Add(append(frame(0x89, []byte("p")), frame(0x88, []byte{3, 0xe8})...), 5)
	f.Add(frame(0x82, make([]byte, 300)), 64)
	f.Add(frame(0x81, []byte("bAQID")), 64)
	f.Add([]byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 2)
	f.Add(frame(0xc1, deflated("4compressed")), 7)
	f.Fuzz(func(t *testing.T, input []byte, cut int) {
		if cut <= 0 {
			cut = 1
		}
		whole := heard(t, input, len(input)+1)
		parts := heard(t, input, cut)
		if whole != parts {
			t.Errorf("whole:\n%s\nin parts:\n%s", whole, parts)
		}
	})
}

// heard is what a receiver is told of input that arrives in pieces.
func heard(t *testing.T, input []byte, piece int) (log string) {
	synctest.Test(t, func(t *testing.T) {
		s := pipe(t, engine.Config{MaxPayload: 1000, Compression: 10})
		var b strings.Builder
		s.echo.message = func(_ *engine.Session, _ *engine.Batch, data []byte, binary bool) bool {
			fmt.Fprintf(&b, "%v %q\n", binary, data)
			if len(data) > 1000 {
				t.Errorf("message of %d bytes", len(data))
			}
			return true
		}
		w := s.open("EIO=4&transport=websocket", offer)
		go func() { // discard pongs and the close frame
			buf := make([]byte, 1000)
			for {
				if _, err := w.conn.Read(buf); err != nil {
					return
				}
			}
		}()
		for len(input) > 0 {
			n := min(piece, len(input))
			if _, err := w.conn.Write(input[:n]); err != nil {
				break
			}
			input = input[n:]
		}
		synctest.Wait()
		w.conn.Close()
		fmt.Fprintf(&b, "%s\n", <-s.echo.reasons)
		log = b.String()
	})
	return log
}

// FuzzPayload posts arbitrary payloads and compares with a simple reading of
// the grammar.
func FuzzPayload(f *testing.F) {
	f.Add([]byte("4a\x1ebAQID\x1e3\x1e4b"))
	f.Add([]byte("4a\x1e1\x1e4b"))
	f.Add([]byte("b-_8=\x1e2"))
	f.Add([]byte("\x1e"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var got strings.Builder
		e := newEcho()
		e.message = func(_ *engine.Session, _ *engine.Batch, data []byte, binary bool) bool {
			fmt.Fprintf(&got, "%v %q\n", binary, data)
			return true
		}
		srv := engine.NewServer(e, engine.Config{})
		defer srv.Close()
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, httptest.NewRequest("GET", "/?"+polling, nil))
		q := "/?" + polling + "&sid=" + sid(t, w.Body.String())
		w = httptest.NewRecorder()
		srv.ServeHTTP(w, httptest.NewRequest("POST", q, bytes.NewReader(payload)))
		if w.Code != http.StatusOK || w.Body.String() != "ok" {
			t.Errorf("%d %q", w.Code, w.Body)
		}
		if want := simpleReading(payload); got.String() != want {
			t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
		}
	})
}

func simpleReading(payload []byte) string {
	var b strings.Builder
	for p := range strings.SplitSeq(string(payload), "\x1e") {
		if p == "" {
			break
		}
		switch p[0] {
		case '4':
			fmt.Fprintf(&b, "false %q\n", p[1:])
			continue
		case '0', '3', '5', '6':
			continue
		case 'b':
			text := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(p[1:], "="))
			if data, err := base64.RawStdEncoding.DecodeString(text); err == nil {
				fmt.Fprintf(&b, "true %q\n", data)
				continue
			}
		}
		break
	}
	return b.String()
}

// Garbage ends its session and nothing else.
func TestGarbageEndsItsSessionOnly(t *testing.T) {
	s := serve(t, engine.Config{})
	bystander := s.session()
	r := rand.New(rand.NewPCG(1, 2))
	heap := heapInUse()
	for range 100 {
		w := s.session()
		var input []byte
		for range 100 {
			junk := make([]byte, r.IntN(20))
			for i := range junk {
				junk[i] = byte(r.Uint32())
			}
			if r.IntN(2) == 0 {
				junk = frame(byte(r.Uint32()), junk)
			}
			input = append(input, junk...)
		}
		// The server may have hung up half-way.
		_, _ = w.conn.Write(input)
		w.conn.Close()
		<-s.echo.reasons
	}
	bystander.send("4unimpressed")
	bystander.expect("4unimpressed")
	if grown := int64(heapInUse()) - int64(heap); grown > 20<<20 {
		t.Errorf("heap grew by %d", grown)
	}
	if st := s.srv.Stats(); st.Sessions != 1 || st.Panics != 0 {
		t.Errorf("%+v", st)
	}
}

// An announced length costs nothing until the bytes arrive.
func TestAnnouncedLengthCostsNothing(t *testing.T) {
	s := serve(t, engine.Config{MaxPayload: 50 << 20})
	heap := heapInUse()
	var clients []*ws
	for range 50 {
		w := s.session()
		w.write([]byte{0x82, 0xff, 0, 0, 0, 0, 3, 0x20, 0, 0, 1, 2, 3, 4, 5, 6, 7})
		clients = append(clients, w)
	}
	for range 50 {
		w := s.slowPost(s.poller())
		clients = append(clients, w)
	}
	time.Sleep(100 * time.Millisecond)
	if grown := int64(heapInUse()) - int64(heap); grown > 10<<20 {
		t.Errorf("heap grew by %d", grown)
	}
	for _, w := range clients {
		w.conn.Close()
	}
}
