package engine

import (
	"encoding/base64"
	"sync"
	"sync/atomic"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
)

// Frames is an immutable run of one or more messages that go out contiguous
// (a text message and its binary attachments), encoded once and shared by any
// number of sessions of one Kind.
//
// It holds finished WebSocket frames, whatever the transport: most sessions
// write them as they are, and the same outbox serves a session before and
// after its upgrade. Polling takes the frames apart again.
type Frames struct {
	data []byte // finished WebSocket frames, RFC 6455 section 5
	raw  bool   // no messages: an HTTP head or control frames
	own  bool   // the engine's own, not worth compressing

	holders  atomic.Int32 // outboxes in which it waits, as far as they are counted
	deflated atomic.Pointer[deflated]
}

// deflated is data with its larger messages compressed, made when first
// needed, by the threshold of the connection that needs it first.
type deflated struct {
	once sync.Once
	data []byte
}

// NewFrames encodes head, text or binary, followed by attachments as binary
// messages. It copies what it is given.
func NewFrames(kind Kind, head []byte, binary bool, attachments [][]byte) *Frames {
	prefix := ""
	if kind == EngineIO && !binary {
		prefix = packetMessage
	}
	size := ws.MaxHeader + len(prefix) + len(head)
	for _, a := range attachments {
		size += ws.MaxHeader + len(a)
	}
	op := byte(ws.OpText)
	if binary {
		op = ws.OpBinary
	}
	dst := make([]byte, 0, size)
	dst = ws.AppendHeader(dst, op, len(prefix)+len(head))
	dst = append(dst, prefix...)
	dst = append(dst, head...)
	for _, a := range attachments {
		dst = ws.AppendFrame(dst, ws.OpBinary, a)
	}
	return &Frames{data: dst}
}

// Len is the size on a WebSocket, in bytes.
func (f *Frames) Len() int { return len(f.data) }

// cost is what f takes in the outbox of a session: small messages take more
// than their bytes.
func (f *Frames) cost() int { return len(f.data) + frameCost }

// packetFrames is one Engine.IO packet that is not a message.
func packetFrames(packet string) *Frames {
	return &Frames{data: ws.AppendFrame(nil, ws.OpText, packet), own: true}
}

// controlFrames is one control frame; payload is at most 125 bytes.
func controlFrames(op byte, payload []byte) *Frames {
	return &Frames{data: ws.AppendFrame(nil, op, payload), raw: true, own: true}
}

// closeFrames is a close frame; reason is ASCII. With ws.CloseNoStatus it is
// empty, which is what Socket.IO's own server sends.
func closeFrames(code uint16, reason string) *Frames {
	if code == ws.CloseNoStatus {
		return emptyClose
	}
	return &Frames{data: ws.AppendClose(nil, code, reason), raw: true, own: true}
}

// appendPolling appends the messages of f to an Engine.IO v4 payload.
func (f *Frames) appendPolling(dst []byte) []byte {
	for rest := f.data; len(rest) > 0 && !f.raw; {
		var op byte
		var message []byte
		op, message, rest = ws.CutFrame(rest)
		if len(dst) > 0 {
			dst = append(dst, separator)
		}
		if op == ws.OpBinary {
			dst = append(dst, packetBinary)
			dst = base64.StdEncoding.AppendEncode(dst, message)
		} else {
			dst = append(dst, message...)
		}
	}
	return dst
}

// textOnly returns f with binary messages as base64 packets, for WebSocket
// clients that asked for it with b64=1.
func (f *Frames) textOnly() *Frames {
	if f.raw {
		return f
	}
	out := &Frames{}
	for rest := f.data; len(rest) > 0; {
		var op byte
		var message []byte
		op, message, rest = ws.CutFrame(rest)
		if op != ws.OpBinary {
			out.data = ws.AppendFrame(out.data, ws.OpText, message)
			continue
		}
		out.data = ws.AppendHeader(out.data, ws.OpText, 1+base64.StdEncoding.EncodedLen(len(message)))
		out.data = append(out.data, packetBinary)
		out.data = base64.StdEncoding.AppendEncode(out.data, message)
	}
	return out
}

// on is what goes out on c.
func (f *Frames) on(c *conn) []byte {
	if f.own || !c.deflate.Applies(len(f.data)) {
		return f.data
	}
	d := f.deflated.Load()
	if d == nil {
		f.deflated.CompareAndSwap(nil, &deflated{})
		d = f.deflated.Load()
	}
	d.once.Do(func() { d.data = c.deflate.Frames(f.data) })
	return d.data
}
