package parser

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// What a Decoder's error is, as errors.Is tells; the error's text says more.
// The texts are mostly those of Socket.IO's own parser (Socket.IO
// protocol v5). Any of them ends the session.
var (
	ErrType               = errors.New("unknown packet type")
	ErrAttachments        = errors.New("illegal attachment count") // their count is malformed
	ErrTooManyAttachments = errors.New("too many attachments")
	ErrPayload            = errors.New("invalid payload")
	ErrText               = errors.New("got plaintext data when reconstructing a packet")
	ErrBinary             = errors.New("got binary data when not reconstructing a packet")
	// ErrPlaceholder means that placeholders and attachments do not match.
	ErrPlaceholder = errors.New("illegal attachments")
	// ErrTooLarge means that a packet has more bytes or arguments, or a
	// longer name or namespace, than allowed.
	ErrTooLarge = errors.New("packet too large")
)

func tooLarge(what string, n, limit int) error {
	return fmt.Errorf("%w: %d %s, at most %d", ErrTooLarge, n, what, limit)
}

// checkText checks a name that reaches logs, metrics and other nodes: it must
// be valid UTF-8 without control characters, of at most limit bytes.
func checkText(what string, s []byte, limit int) error {
	if len(s) > limit {
		return tooLarge("bytes of "+what, len(s), limit)
	}
	for i, c := range s {
		if c < ' ' || c == 0x7f || c == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0 { // C0, DEL, C1
			return fmt.Errorf("%w: control character in %s", ErrPayload, what)
		}
	}
	if !utf8.Valid(s) {
		return fmt.Errorf("%w: %s is not UTF-8", ErrPayload, what)
	}
	return nil
}
