// Package siotest is an in-memory network and a very small Engine.IO client,
// for tests that run real net/http in fake time (testing/synctest).
package siotest

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// Network is an HTTP server on an in-memory listener.
type Network struct {
	t     testing.TB
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// Serve serves h until the test ends.
func Serve(t testing.TB, h http.Handler) *Network {
	return ServeOn(t, h, func(l net.Listener) net.Listener { return l })
}

// ServeOn is Serve on what wrap makes of the listener.
func ServeOn(t testing.TB, h http.Handler, wrap func(net.Listener) net.Listener) *Network {
	n := &Network{t: t, conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{Handler: h}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := srv.Serve(wrap(n)); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serving: %v", err)
		}
	}()
	t.Cleanup(func() {
		srv.Close()
		<-stopped
	})
	return n
}

// Accept makes a Network a net.Listener.
func (n *Network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

// Close closes the listener.
func (n *Network) Close() error {
	n.once.Do(func() { close(n.done) })
	return nil
}

// Addr is a name only.
func (n *Network) Addr() net.Addr { return memAddr{} }

type memAddr struct{}

func (memAddr) Network() string { return "mem" }
func (memAddr) String() string  { return "mem" }

// Dial connects to the server.
func (n *Network) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case n.conns <- server:
		return client, nil
	case <-n.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Client is an HTTP client of the server.
func (n *Network) Client() *http.Client {
	tr := &http.Transport{DialContext: n.Dial}
	n.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// Get fetches a path and returns status and body.
func (n *Network) Get(path string) (int, string) {
	n.t.Helper()
	resp, err := n.Client().Get("http://mem" + path)
	return n.answer(resp, err)
}

// Post sends a body to a path and returns status and body.
func (n *Network) Post(path, body string) (int, string) {
	n.t.Helper()
	resp, err := n.Client().Post("http://mem"+path, "text/plain;charset=UTF-8", strings.NewReader(body))
	return n.answer(resp, err)
}

func (n *Network) answer(resp *http.Response, err error) (int, string) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("request: %v", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatalf("reading the answer: %v", err)
	}
	return resp.StatusCode, string(b)
}

// Conn is a WebSocket client. It answers Engine.IO pings by itself.
type Conn struct {
	t    testing.TB
	conn *websocket.Conn
	in   chan string
	end  error // what ended the reading; set before in is closed
	mute atomic.Bool

	writing chan struct{} // who writes puts something in; fake time does not wait for a mutex
}

// WebSocket opens a WebSocket at path and reads the Engine.IO handshake.
func (n *Network) WebSocket(path string) *Conn {
	n.t.Helper()
	c := n.Open(path, nil)
	if open := c.Next(); !strings.HasPrefix(open, "0{") {
		n.t.Fatalf("handshake: %q", open)
	}
	return c
}

// Open opens a WebSocket at path.
func (n *Network) Open(path string, header http.Header) *Conn {
	n.t.Helper()
	d := websocket.Dialer{NetDialContext: n.Dial}
	ws, resp, err := d.Dial("ws://mem"+path, header)
	if err != nil {
		n.t.Fatalf("dialing %s: %v (%v)", path, err, resp)
	}
	c := &Conn{t: n.t, conn: ws, in: make(chan string, 1<<16), writing: make(chan struct{}, 1)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read()
	}()
	n.t.Cleanup(func() {
		ws.Close()
		<-read
	})
	return c
}

func (c *Conn) read() {
	defer close(c.in)
	for {
		kind, data, err := c.conn.ReadMessage()
		if err != nil {
			c.end = err
			return
		}
		switch {
		case kind == websocket.BinaryMessage:
			c.in <- "b:" + hex.EncodeToString(data)
		case string(data) == "2":
			if !c.mute.Load() {
				c.Send("3")
			}
		default:
			c.in <- string(data)
		}
	}
}

// Send sends a text message. An error shows as the end of what Next returns.
func (c *Conn) Send(text string) {
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	c.conn.WriteMessage(websocket.TextMessage, []byte(text))
}

// SendBinary sends a binary message.
func (c *Conn) SendBinary(data []byte) {
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	c.conn.WriteMessage(websocket.BinaryMessage, data)
}

// Mute stops answering pings, as a phone does that lost its network.
func (c *Conn) Mute() { c.mute.Store(true) }

// Close cuts the connection.
func (c *Conn) Close() { c.conn.Close() }

// Next waits for the next message: text as it is, binary as "b:" and hex, ""
// when the connection ended. Waiting for ever fails the test.
func (c *Conn) Next() string {
	c.t.Helper()
	select {
	case m := <-c.in:
		return m
	case <-time.After(time.Minute):
		c.t.Fatal("no message within a minute")
		return ""
	}
}

// Expect fails the test unless the next messages are these.
func (c *Conn) Expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.Next(); got != w {
			c.t.Fatalf("got %q, want %q", got, w)
		}
	}
}

// ExpectClose fails the test unless the next that comes is a close frame with
// this code and reason.
func (c *Conn) ExpectClose(code int, reason string) {
	c.t.Helper()
	c.Expect("")
	if e, ok := c.end.(*websocket.CloseError); !ok || e.Code != code || e.Text != reason {
		c.t.Fatalf("closed by %v, want %d %q", c.end, code, reason)
	}
}

// Quiet fails the test if a message has arrived. In fake time call
// synctest.Wait before it.
func (c *Conn) Quiet() {
	c.t.Helper()
	select {
	case m, ok := <-c.in:
		if ok {
			c.t.Fatalf("unexpected message %q", m)
		}
	default:
	}
}

// Heard returns what has arrived. In fake time call synctest.Wait before it.
func (c *Conn) Heard() (messages []string) {
	for {
		select {
		case m, ok := <-c.in:
			if !ok {
				return messages
			}
			messages = append(messages, m)
		default:
			return messages
		}
	}
}

// Join connects to a namespace with payload ("" for none) and returns the
// socket id.
func (c *Conn) Join(namespace, payload string) string {
	c.t.Helper()
	prefix := "40"
	if namespace != "/" {
		prefix += namespace + ","
	}
	c.Send(prefix + payload)
	got := c.Next()
	id, ok := strings.CutPrefix(got, prefix+`{"sid":"`)
	if !ok {
		c.t.Fatalf("joining %s: %q", namespace, got)
	}
	return strings.TrimSuffix(id, `"}`)
}
