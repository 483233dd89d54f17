// Package wsclient speaks the client's side of a WebSocket (RFC 6455) frame by
// frame, for tests and load generators: they see and send what a library would
// hide or refuse, and pay for nothing else.
package wsclient

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// The first byte of frames that are whole messages.
const (
	Text   = 0x81
	Binary = 0x82
	Close  = 0x88
	Ping   = 0x89
	Pong   = 0x8a
)

// The example of RFC 6455, section 1.3.
const (
	key    = "dGhlIHNhbXBsZSBub25jZQ=="
	accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// Handshake asks on w for a WebSocket at path, which may have a query, with
// further header lines ("Name: value"), and reads the answer from r. The answer
// may have any status; with 101 r is at the first frame.
func Handshake(w io.Writer, r *bufio.Reader, host, path string, header ...string) (*http.Response, error) {
	lines := append([]string{
		"GET " + path + " HTTP/1.1", "Host: " + host, "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key,
	}, header...)
	if _, err := io.WriteString(w, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	if got := resp.Header.Get("Sec-WebSocket-Accept"); resp.StatusCode == http.StatusSwitchingProtocols && got != accept {
		return nil, fmt.Errorf("Sec-WebSocket-Accept: %q, want %q", got, accept)
	}
	return resp, nil
}

// Open is Handshake for callers that need a WebSocket: any answer but 101 is an
// error.
func Open(w io.Writer, r *bufio.Reader, host, path string, header ...string) error {
	resp, err := Handshake(w, r, host, path, header...)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = Refused{resp.StatusCode}
	}
	return err
}

// Refused is an answer that does not open a WebSocket.
type Refused struct{ Status int }

func (e Refused) Error() string {
	return fmt.Sprintf("the server answered %d %s instead of opening a WebSocket", e.Status, http.StatusText(e.Status))
}

const (
	masked   = 0x80 // in the second byte
	length16 = 126  // the length follows in two bytes
	length64 = 127  // in eight
)

// AppendFrame appends a frame that begins with first, masked with a mask that
// changes each byte.
func AppendFrame[P string | []byte](b []byte, first byte, payload P) []byte {
	mask := [4]byte{1, 2, 3, 4}
	b = appendHeader(b, first, len(payload), mask)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return b
}

// AppendHeader appends the header of a frame whose mask is zero: the size bytes
// that the caller sends next are the payload as it is.
func AppendHeader(b []byte, first byte, size int) []byte {
	return appendHeader(b, first, size, [4]byte{})
}

func appendHeader(b []byte, first byte, size int, mask [4]byte) []byte {
	b = append(b, first)
	switch {
	case size < length16:
		b = append(b, masked|byte(size))
	case size < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, masked|length16), uint16(size))
	default:
		b = binary.BigEndian.AppendUint64(append(b, masked|length64), uint64(size))
	}
	return append(b, mask[:]...)
}

// ReadHeader reads the header of a frame as servers send it, without a mask;
// its payload of size bytes is next in r.
func ReadHeader(r *bufio.Reader) (first byte, size int, err error) {
	head, err := r.Peek(2)
	if err != nil {
		return 0, 0, err
	}
	first, size = head[0], int(head[1])
	length := 2
	switch size {
	case length16:
		length = 4
	case length64:
		length = 10
	}
	if head, err = r.Peek(length); err != nil {
		return 0, 0, err
	}
	switch size {
	case length16:
		size = int(binary.BigEndian.Uint16(head[2:]))
	case length64:
		size = int(binary.BigEndian.Uint64(head[2:]))
	}
	_, err = r.Discard(length)
	return first, size, err
}

// ReadFrame reads a whole frame.
func ReadFrame(r *bufio.Reader) (first byte, payload []byte, err error) {
	first, size, err := ReadHeader(r)
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	return first, payload, nil
}
