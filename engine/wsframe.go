package engine

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// RFC 6455 section 5.2: the layout of a frame.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA

	finBit  = 0x80 // first byte
	rsv1Bit = 0x40 // first byte: compressed, RFC 7692
	maskBit = 0x80 // second byte

	maxHeader  = 10 // bytes, without a mask
	maxControl = 125
)

// RFC 6455 section 7.4.1.
const (
	CloseUnsupported = 1003 // for Session.Reject: a message of a kind that is not taken
	CloseInvalid     = 1007 // for Session.Reject: a message whose content is malformed

	closeGoingAway = 1001
	closeProtocol  = 1002
	closeTooBig    = 1009
	closeNoStatus  = 1005 // stands for an empty close frame; never on the wire
)

// A violation of the WebSocket protocol, and the close code that answers it.
type violation struct {
	code uint16
	what string
}

func (v *violation) Error() string { return v.what }

var (
	errReserved     = &violation{closeProtocol, "reserved bits or opcode"}
	errUnmasked     = &violation{closeProtocol, "frame without a mask"}
	errControlFrame = &violation{closeProtocol, "control frame fragmented or too long"}
	errLength       = &violation{closeProtocol, "length not encoded as short as possible"}
	errContinuation = &violation{closeProtocol, "continuation out of place"}
	errClosePayload = &violation{closeProtocol, "invalid close frame"}
	errTooBig       = &violation{closeTooBig, "message too big"}
	errEncoding     = &violation{CloseInvalid, "text is not UTF-8"}
	errInflate      = &violation{CloseInvalid, "invalid compressed message"}
	errShortHeader  = errors.New("header incomplete")
	errPeerClosed   = errors.New("peer sent a close frame")
)

// header is the decoded head of a client's frame.
type header struct {
	op         byte
	fin        bool
	compressed bool
	mask       [4]byte
	length     int // of the header itself
	size       int // of the payload
}

// parseHeader decodes the head of a frame from a client. compressed says
// whether permessage-deflate was negotiated. A payload beyond limit is refused
// by its announced length: nothing is ever allocated for it. errShortHeader
// asks for more bytes.
func parseHeader(b []byte, limit int, compressed bool) (h header, err error) {
	if len(b) < 2 {
		return h, errShortHeader
	}
	h.op, h.fin, h.compressed = b[0]&0x0f, b[0]&finBit != 0, b[0]&rsv1Bit != 0
	if b[0]&0x30 != 0 || h.compressed && (!compressed || h.op != opText && h.op != opBinary) {
		return h, errReserved
	}
	if b[1]&maskBit == 0 {
		return h, errUnmasked
	}
	h.length, h.size = 2, int(b[1]&0x7f)
	switch h.op {
	case opContinuation, opText, opBinary:
	case opClose, opPing, opPong:
		if !h.fin || h.size > maxControl {
			return h, errControlFrame
		}
	default:
		return h, errReserved
	}
	switch h.size {
	case 126:
		if len(b) < 4 {
			return h, errShortHeader
		}
		h.length, h.size = 4, int(binary.BigEndian.Uint16(b[2:]))
		if h.size < 126 {
			return h, errLength
		}
	case 127:
		if len(b) < 10 {
			return h, errShortHeader
		}
		size := binary.BigEndian.Uint64(b[2:])
		if size < 1<<16 || size > 1<<63-1 {
			return h, errLength
		}
		if size > uint64(limit) {
			return h, errTooBig
		}
		h.length, h.size = 10, int(size)
	}
	if h.size > limit && h.op < opClose {
		return h, errTooBig
	}
	if len(b) < h.length+4 {
		return h, errShortHeader
	}
	h.mask = [4]byte(b[h.length:])
	h.length += 4
	return h, nil
}

// unmask undoes (or does) the masking of a payload in place.
func unmask(p []byte, mask [4]byte) {
	m := uint64(binary.LittleEndian.Uint32(mask[:]))
	m |= m << 32
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^m)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= mask[i&3]
	}
}

// appendHeader appends the head of a server's frame. first is the first byte:
// fin, rsv1, opcode.
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

// nextFrame takes the first of the finished frames in b, which are our own.
func nextFrame(b []byte) (op byte, payload, rest []byte) {
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

// closePayload checks the payload of a close frame and returns the code to
// answer it with.
func closePayload(p []byte) (code uint16, err error) {
	if len(p) == 0 {
		return closeNoStatus, nil
	}
	if len(p) == 1 {
		return 0, errClosePayload
	}
	code = binary.BigEndian.Uint16(p)
	switch {
	case !utf8.Valid(p[2:]):
		return 0, errClosePayload
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return code, nil
	}
	return 0, errClosePayload
}

// closeFrames is a close frame; closeNoStatus makes an empty one, which is
// what Socket.IO's own server sends. why is ASCII, and cut to what fits.
func closeFrames(code uint16, why string) *Frames {
	if code == closeNoStatus {
		return emptyClose
	}
	payload := binary.BigEndian.AppendUint16(nil, code)
	return controlFrames(opClose, append(payload, why[:min(len(why), maxControl-len(payload))]...))
}
