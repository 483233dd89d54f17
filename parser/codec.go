package parser

// Limits bound what a Decoder accepts.
type Limits struct {
	Attachments int // binary values of one packet; default 10
	PacketBytes int // a packet with its attachments, bytes; default 1,000,000
}

func (l Limits) withDefaults() Limits {
	if l.Attachments == 0 {
		l.Attachments = 10
	}
	if l.PacketBytes == 0 {
		l.PacketBytes = 1_000_000
	}
	return l
}

// Codec is one way to write packets as messages. Codecs are stateless and
// safe for concurrent use.
type Codec interface {
	NewDecoder(l Limits) Decoder
	// Encode appends p's first message to dst, text or binary; attachments
	// follow it as binary messages of their own. p.Type is never BinaryEvent
	// or BinaryAck; with Args.Bin the codec chooses. The attachments alias
	// p.Args.Bin.
	Encode(dst []byte, p *Packet) (head []byte, binary bool, attachments [][]byte)
}

// Decoder puts the packets of one session together. It is not safe for
// concurrent use.
type Decoder interface {
	// Decode takes the session's next message. When it completes a packet,
	// *p is set and done is true. With done, an error is a *Refused: the
	// packet has the Type, Namespace, ID and Name that could be read, and the
	// session goes on. Any other error is final: the session must end.
	Decode(data []byte, binary bool, p *Packet) (done bool, err error)
	// Held is how many bytes are kept of a packet that has begun.
	Held() int
}

// SocketIO is the default codec, Socket.IO protocol v5.
var SocketIO Codec = socketIO{}

// PlainJSON is the codec of plain WebSockets: each packet is a JSON object in
// a text message. Binary values stand in it as {"$bin": base64}; so that data
// cannot be taken for one, every key "$bin", "$$bin" and so on has a dollar
// more on the wire than in Args.JSON.
var PlainJSON Codec = plainJSON{}
