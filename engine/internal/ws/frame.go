// Package ws is the wire format of WebSockets: frames and messages (RFC 6455
// section 5), the compression of messages and its negotiation (RFC 7692). It
// works on bytes in memory and knows neither connections nor sessions.
package ws

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// Opcodes of frames, RFC 6455 section 5.2.
const (
	OpContinuation = 0x0
	OpText         = 0x1
	OpBinary       = 0x2
	OpClose        = 0x8
	OpPing         = 0x9
	OpPong         = 0xA
)

const (
	finBit  = 0x80 // of the first byte
	rsv1Bit = 0x40 // of the first byte: the message is compressed, RFC 7692
	maskBit = 0x80 // of the second byte

	maxControl = 125 // bytes of the payload of a control frame
)

// MaxHeader is the size of the longest header of a server's frame.
const MaxHeader = 10

// Codes of close frames, RFC 6455 section 7.4.1.
const (
	CloseGoingAway   = 1001
	CloseProtocol    = 1002
	CloseUnsupported = 1003 // a message of a kind that is not accepted
	CloseNoStatus    = 1005 // stands for a close frame without a code; never on the wire
	CloseInvalid     = 1007 // a message whose content is malformed
	CloseTooBig      = 1009
)

// An Error is a violation of the protocol by the client.
type Error struct {
	Code   uint16 // of the close frame that answers it
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// Violations that callers detect or test for.
var (
	ErrTooBig = &Error{CloseTooBig, "message too big"}
	ErrText   = &Error{CloseInvalid, "text is not UTF-8"}
)

var (
	errReserved     = &Error{CloseProtocol, "reserved bits or opcode"}
	errUnmasked     = &Error{CloseProtocol, "frame without a mask"}
	errControl      = &Error{CloseProtocol, "control frame fragmented or too long"}
	errLength       = &Error{CloseProtocol, "length not encoded as short as possible"}
	errContinuation = &Error{CloseProtocol, "continuation out of place"}
	errClose        = &Error{CloseProtocol, "invalid close frame"}
	errInflate      = &Error{CloseInvalid, "invalid compressed message"}
)

// ErrIncomplete asks for more bytes.
var ErrIncomplete = errors.New("frame incomplete")

// A Header is the decoded header of a client's frame.
type Header struct {
	op         byte
	fin        bool
	compressed bool
	mask       [4]byte
	length     int // of the header itself
	size       int // of the payload
}

// Frame is the size of the whole frame.
func (h Header) Frame() int { return h.length + h.size }

// Parse decodes the header of the client's frame that b begins with.
// ErrIncomplete asks for more bytes, until the whole frame is in b. compressed
// allows compressed messages. A payload of more than limit bytes is refused by
// its announced length, before anything is allocated for it.
func Parse(b []byte, limit int, compressed bool) (h Header, err error) {
	if h, err = parseHeader(b, limit, compressed); err == nil && len(b)-h.length < h.size {
		err = ErrIncomplete
	}
	return h, err
}

func parseHeader(b []byte, limit int, compressed bool) (h Header, err error) {
	if len(b) < 2 {
		return h, ErrIncomplete
	}
	h.op, h.fin, h.compressed = b[0]&0x0f, b[0]&finBit != 0, b[0]&rsv1Bit != 0
	if b[0]&0x30 != 0 || h.compressed && (!compressed || h.op != OpText && h.op != OpBinary) {
		return h, errReserved
	}
	if b[1]&maskBit == 0 {
		return h, errUnmasked
	}
	h.length, h.size = 2, int(b[1]&0x7f)
	switch h.op {
	case OpContinuation, OpText, OpBinary:
	case OpClose, OpPing, OpPong:
		if !h.fin || h.size > maxControl {
			return h, errControl
		}
	default:
		return h, errReserved
	}
	switch h.size {
	case 126:
		if len(b) < 4 {
			return h, ErrIncomplete
		}
		h.length, h.size = 4, int(binary.BigEndian.Uint16(b[2:]))
		if h.size < 126 {
			return h, errLength
		}
	case 127:
		if len(b) < 10 {
			return h, ErrIncomplete
		}
		size := binary.BigEndian.Uint64(b[2:])
		if size < 1<<16 || size > 1<<63-1 {
			return h, errLength
		}
		if size > uint64(limit) {
			return h, ErrTooBig
		}
		h.length, h.size = 10, int(size)
	}
	if h.size > limit && h.op < OpClose {
		return h, ErrTooBig
	}
	if len(b) < h.length+4 {
		return h, ErrIncomplete
	}
	h.mask = [4]byte(b[h.length:])
	h.length += 4
	return h, nil
}

// mask masks or unmasks a payload in place.
func mask(p []byte, key [4]byte) {
	k := uint64(binary.LittleEndian.Uint32(key[:]))
	k |= k << 32
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^k)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= key[i&3]
	}
}

// AppendHeader appends the header of a server's frame, which is a whole
// message or a control frame with a payload of size bytes.
func AppendHeader(dst []byte, op byte, size int) []byte { return appendHeader(dst, finBit|op, size) }

// AppendFrame appends a server's frame, which is a whole message or a control
// frame.
func AppendFrame[T []byte | string](dst []byte, op byte, payload T) []byte {
	return append(AppendHeader(dst, op, len(payload)), payload...)
}

func appendHeader(dst []byte, first byte, size int) []byte {
	switch {
	case size < 126:
		return append(dst, first, byte(size))
	case size < 1<<16:
		return append(dst, first, 126, byte(size>>8), byte(size))
	default:
		return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(size))
	}
}

// CutFrame cuts the first frame off b, which holds frames that AppendHeader or
// AppendFrame made.
func CutFrame(b []byte) (op byte, payload, rest []byte) {
	op = b[0] & 0x0f
	length, size := 2, int(b[1])
	switch size {
	case 126:
		length, size = 4, int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		length, size = 10, int(binary.BigEndian.Uint64(b[2:]))
	}
	return op, b[length : length+size], b[length+size:]
}

// AppendClose appends a close frame. With CloseNoStatus it has neither a code
// nor a reason. reason must be ASCII; it is cut to what fits.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	if code == CloseNoStatus {
		return AppendHeader(dst, OpClose, 0)
	}
	reason = reason[:min(len(reason), maxControl-2)]
	dst = AppendHeader(dst, OpClose, 2+len(reason))
	return append(binary.BigEndian.AppendUint16(dst, code), reason...)
}

// ParseClose checks the payload of a client's close frame and returns the code
// to answer it with.
func ParseClose(p []byte) (code uint16, err error) {
	if len(p) == 0 {
		return CloseNoStatus, nil
	}
	if len(p) == 1 {
		return 0, errClose
	}
	code = binary.BigEndian.Uint16(p)
	switch {
	case !utf8.Valid(p[2:]):
		return 0, errClose
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return code, nil
	}
	return 0, errClose
}
