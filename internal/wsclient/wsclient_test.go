package wsclient_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/realtime/internal/siotest"
	"github.com/caddy-realtime/realtime/internal/wsclient"
)

func dial(t *testing.T, h http.HandlerFunc) (io.Writer, *bufio.Reader) {
	conn, err := siotest.Serve(t, h).Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, bufio.NewReader(conn)
}

func TestALibraryEchoesFramesOfEverySize(t *testing.T) {
	w, r := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "example.com" || r.URL.Path != "/here" || r.Header.Get("X-More") != "1" {
			http.Error(w, "", http.StatusTeapot)
			return
		}
		conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, data, err := conn.ReadMessage()
			if err != nil {
				return
			}
			conn.WriteMessage(kind, data)
		}
	})
	if err := wsclient.Open(w, r, "example.com", "/here?a=b", "X-More: 1"); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 125, 126, 1<<16 - 1, 1 << 16} {
		want := bytes.Repeat([]byte("text"), size)[:size]
		for _, frame := range [][]byte{
			wsclient.AppendFrame(nil, wsclient.Text, want),
			append(wsclient.AppendHeader(nil, wsclient.Text, size), want...),
		} {
			go w.Write(frame)
			first, got, err := wsclient.ReadFrame(r)
			if err != nil || first != wsclient.Text || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: %#x %.20q %v", size, first, got, err)
			}
		}
	}
}

func TestOpenSaysHowItWasRefused(t *testing.T) {
	w, r := dial(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "full", http.StatusServiceUnavailable) })
	refused := wsclient.Refused{}
	if err := wsclient.Open(w, r, "mem", "/"); !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerToAnotherKeyIsAnError(t *testing.T) {
	answer := "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
	if err := wsclient.Open(io.Discard, bufio.NewReader(strings.NewReader(answer)), "mem", "/"); err == nil {
		t.Error("accepted")
	}
}
