//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// protocol is what a server speaks in WebSocket text frames. Messages carry the
// time at which they were due (t, in nanoseconds since 1970) and padding.
type protocol interface {
	path() string
	// greeting is the first message of a client; nil if the server begins.
	greeting(c *conn) []byte
	receive(c *conn, message []byte)
	publish(c *conn, due int64) []byte
	request(c *conn, due int64) []byte
	// echoes reports whether a message reaches its own sender, too.
	echoes() bool
}

func newProtocol(o *options) (protocol, error) {
	padding := strings.Repeat("x", o.size)
	switch o.protocol {
	case "socketio":
		return socketIO{padding}, nil
	case "plain":
		return plain{padding}, nil
	case "centrifuge":
		return centrifuge{padding}, nil
	}
	return nil, fmt.Errorf("unknown protocol %q: use socketio, plain or centrifuge", o.protocol)
}

var due = []byte(`"t":`)

// sentAt finds the time at which a message was due.
func sentAt(message []byte) (nanoseconds int64, ok bool) {
	_, rest, ok := bytes.Cut(message, due)
	if !ok {
		return 0, false
	}
	digits, _, _ := bytes.Cut(rest, []byte(","))
	nanoseconds, err := strconv.ParseInt(string(digits), 10, 64)
	return nanoseconds, err == nil
}

// socketIO is Socket.IO v5 over Engine.IO v4.
type socketIO struct{ padding string }

func (socketIO) path() string          { return "/socket.io/?EIO=4&transport=websocket" }
func (socketIO) greeting(*conn) []byte { return nil }
func (socketIO) echoes() bool          { return false }

var (
	sioConnected = []byte("40")
	sioMessage   = []byte(`42["msg"`)
	sioJoined    = []byte("430[")
	sioAck       = []byte("43")
)

func (p socketIO) receive(c *conn, message []byte) {
	switch {
	case len(message) == 0:
	case message[0] == '0': // open
		c.send(sioConnected)
	case message[0] == '2': // ping
		c.send([]byte("3"))
	case bytes.HasPrefix(message, sioMessage):
		c.crowd.noteDelivery(message)
	case bytes.HasPrefix(message, sioConnected):
		c.send(fmt.Appendf(nil, `420["sub","room-%d"]`, c.room))
	case bytes.HasPrefix(message, sioJoined) && !c.joined:
		c.hasJoined()
	case bytes.HasPrefix(message, sioAck):
		c.crowd.noteAck(message)
	}
}

func (p socketIO) publish(c *conn, due int64) []byte {
	return fmt.Appendf(nil, `42["pub",{"roomId":"room-%d","t":%d,"pad":"%s"}]`, c.room, due, p.padding)
}

func (p socketIO) request(c *conn, due int64) []byte {
	c.asked++
	return fmt.Appendf(nil, `42%d["echo",{"t":%d,"pad":"%s"}]`, c.asked, due, p.padding)
}

// plain is this module's JSON protocol for plain WebSockets.
type plain struct{ padding string }

func (plain) path() string { return "/socket.io/" }
func (plain) echoes() bool { return false }

func (plain) greeting(c *conn) []byte {
	return fmt.Appendf(nil, `{"event":"sub","args":["room-%d"],"id":0}`, c.room)
}

func (plain) receive(c *conn, message []byte) {
	switch {
	case bytes.HasPrefix(message, []byte(`{"event":"msg"`)):
		c.crowd.noteDelivery(message)
	case bytes.HasPrefix(message, []byte(`{"ack":0`)):
		c.hasJoined()
	case bytes.HasPrefix(message, []byte(`{"ack":`)):
		c.crowd.noteAck(message)
	}
}

func (p plain) publish(c *conn, due int64) []byte {
	return fmt.Appendf(nil, `{"event":"pub","args":[{"roomId":"room-%d","t":%d,"pad":"%s"}]}`, c.room, due, p.padding)
}

func (p plain) request(c *conn, due int64) []byte {
	c.asked++
	return fmt.Appendf(nil, `{"event":"echo","args":[{"t":%d,"pad":"%s"}],"id":%d}`, due, p.padding, c.asked)
}

// centrifuge is Centrifugo's bidirectional JSON protocol: commands with ids,
// several to a message, one a line. A channel is the room. It has no request
// that a server answers with its argument: a publication, which is
// acknowledged, stands for one.
type centrifuge struct{ padding string }

func (centrifuge) path() string          { return "/connection/websocket" }
func (centrifuge) greeting(*conn) []byte { return []byte(`{"id":1,"connect":{}}`) }
func (centrifuge) echoes() bool          { return true }

func (centrifuge) receive(c *conn, message []byte) {
	for line := range bytes.SplitSeq(message, []byte{'\n'}) {
		switch {
		case len(line) == 0:
		case string(line) == "{}": // ping
			c.send(line)
		case bytes.Contains(line, []byte(`"pub":{`)):
			c.crowd.noteDelivery(line)
		case bytes.Contains(line, []byte(`"publish":{`)):
			c.crowd.noteAck(line)
		case bytes.Contains(line, []byte(`"subscribe":{`)):
			c.hasJoined()
		case bytes.Contains(line, []byte(`"connect":{`)):
			c.send(fmt.Appendf(nil, `{"id":2,"subscribe":{"channel":"room-%d"}}`, c.room))
		}
	}
}

func (p centrifuge) publish(c *conn, due int64) []byte {
	const used = 2 // ids of connect and subscribe
	c.asked++
	return fmt.Appendf(nil, `{"id":%d,"publish":{"channel":"room-%d","data":{"roomId":"room-%[2]d","t":%d,"pad":"%s"}}}`,
		used+c.asked, c.room, due, p.padding)
}

func (p centrifuge) request(c *conn, due int64) []byte { return p.publish(c, due) }
