// Package parser translates between messages of a session and Socket.IO
// packets (Socket.IO protocol v5): pure functions, and one stateful Decoder a
// session. Payloads stay raw JSON.
//
// engine → **parser** → hub. It knows neither sessions nor sockets.
package parser

import "bytes"

// Type is the type of a packet, with its digit on the wire.
type Type uint8

const (
	Connect      Type = iota // 0 client: join a namespace; server: joined
	Disconnect               // 1 leave a namespace
	Event                    // 2
	Ack                      // 3
	ConnectError             // 4 server only
	BinaryEvent              // 5 on the wire only: a decoded packet says Event
	BinaryAck                // 6 on the wire only: a decoded packet says Ack

	// The rest exists in the plain JSON protocol only.
	PlainAuth  // client: Data is the object of its auth
	PlainOpen  // server: Data is the object that opens the session
	PlainPing  // client: Data is a number
	PlainPong  // server: Data is the number of the ping
	PlainError // server: Data is {"code", "message"}, ID that of a refused event or NoID
)

// Args are the arguments of an event or acknowledgement.
type Args struct {
	// JSON holds the arguments separated by commas, without the array's
	// brackets; empty for none. It is valid JSON, valid UTF-8, at most
	// MaxDepth deep. Binary values stand in it as placeholder objects
	// {"_placeholder":true,"num":N}, where N indexes Bin; when Bin is empty
	// such an object is plain data.
	JSON []byte
	// Bin holds the binary values. Each is named by exactly one placeholder.
	Bin [][]byte
}

// Clone returns arguments that share no memory with a.
func (a Args) Clone() Args {
	out := Args{JSON: bytes.Clone(a.JSON)}
	for _, b := range a.Bin {
		out.Bin = append(out.Bin, bytes.Clone(b))
	}
	return out
}

// Len is the size of the arguments in bytes.
func (a Args) Len() int {
	n := len(a.JSON)
	for _, b := range a.Bin {
		n += len(b)
	}
	return n
}

// NoID is the ID of a packet that asks for no acknowledgement.
const NoID = -1

// Packet is one Socket.IO packet. The slices of a decoded packet alias the
// message and the decoder's memory: they are valid until the next call to
// Decode.
type Packet struct {
	Type      Type
	Namespace []byte // with its slash; never empty in a decoded packet
	ID        int64  // acknowledgement id, or NoID
	Name      []byte // name of an Event, unescaped; a number as its decimal text
	Args      Args   // of an Event (without the name) or Ack
	Data      []byte // JSON object of Connect and ConnectError; nil if absent
}
