package engine_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/engine"
)

// Input and the end of the connection may arrive together: both are told of,
// though the poller tells of a connection once.
func TestLastWordsOnTCP(t *testing.T) {
	s := serve(t, still)
	got := make(chan string, 1)
	s.echo.message = func(_ *engine.Session, _ *engine.Batch, data []byte, _ bool) bool {
		got <- string(data)
		return true
	}
	for range 200 {
		w := s.session()
		w.write(frame(0x81, []byte("4bye")))
		w.conn.Close()
		if text := <-got; text != "bye" {
			t.Fatalf("got %q", text)
		}
		s.echo.closed(t, engine.TransportClose)
	}
}

// A server that closes while the kernel tells of its connections does close:
// nobody waits for the poller with a lock that the poller wants.
func TestCloseWhileConnectionsEnd(t *testing.T) {
	for range 300 {
		t.Run("", func(t *testing.T) {
			s := serve(t, still) // closes at the end of the test
			for range 20 {
				w := s.session()
				defer w.conn.Close()
			}
		})
	}
}

// A connection that always has more input than one turn reads loses nothing,
// and lets others get their turns.
func TestFloodOnTCPLeavesOthersTheirTurns(t *testing.T) {
	const messages, size = 400, 64 << 10
	s := serve(t, still)
	done := make(chan int, 1) // a receiver must not block: answers wait in its batch
	count, talked := 0, 0
	s.echo.message = func(session *engine.Session, _ *engine.Batch, data []byte, _ bool) bool {
		if len(data) < size {
			return false
		}
		if count++; count == messages {
			done <- len(data)
		}
		return true
	}
	flood, other := s.session(), s.session()
	go func() {
		f := frame(0x81, append([]byte("4"), bytes.Repeat([]byte("x"), size)...))
		for range messages {
			flood.write(f)
		}
	}()
	for finished := false; !finished; {
		select {
		case <-done:
			finished = true
		default:
			other.send("4hi")
			other.expect("4hi")
			talked++
		}
	}
	if talked == 0 {
		t.Error("the other had no turn")
	}
}

// When the server has closed, the poller goes with the last connection.
func TestPollerEndsWithTheLastConnection(t *testing.T) {
	s := serve(t, still)
	w := s.session()
	w.send("4hi")
	w.expect("4hi")
	if !somebodyPolls() {
		t.Fatal("nobody polls")
	}
	s.srv.Close()
	for end := time.Now().Add(10 * time.Second); somebodyPolls(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("the poller stays")
		}
	}
}

func somebodyPolls() bool {
	return strings.Contains(stacks(), "netpoll.(*Poller).run")
}
