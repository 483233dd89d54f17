package parser

import (
	"errors"
	"fmt"
)

// What a Decoder's error is, as errors.Is tells; the error's text says more.
// The texts are mostly those of Socket.IO's own parser (Socket.IO
// protocol v5). Any of them ends the session, unless it comes in a *Refused.
var (
	ErrType               = errors.New("unknown packet type")
	ErrAttachments        = errors.New("illegal attachment count") // their count is malformed
	ErrTooManyAttachments = errors.New("too many attachments")
	ErrPayload            = errors.New("invalid payload")
	ErrText               = errors.New("got plaintext data when reconstructing a packet")
	ErrBinary             = errors.New("got binary data when not reconstructing a packet")
	ErrReserved           = errors.New("reserved event name")
	// ErrPlaceholder means that placeholders and attachments do not match.
	ErrPlaceholder = errors.New("illegal attachments")
	// ErrTooLarge means that a packet has more bytes or arguments, or a
	// longer name or namespace, than allowed.
	ErrTooLarge = errors.New("packet too large")
)

// Refused is the error of a packet that a client may send by an honest mistake
// and that can be told from those around it: it alone is refused, the session
// goes on. Its text is for the client.
type Refused struct {
	Part string // of the packet, by the name that plain frames have for it, such as "args"; "": the whole
	Text string // what is wrong with it
	Kind error  // one of those above
}

func (r *Refused) Error() string {
	if r.Part == "" {
		return r.Text
	}
	return r.Part + ": " + r.Text
}

func (r *Refused) Unwrap() error { return r.Kind }

func isRefused(err error) bool {
	_, ok := err.(*Refused) // not wrapped: an error around it is about more than this packet
	return ok
}

// maxRefused is how many times larger than allowed a number of arguments or
// attachments, or a namespace, may be to be called an honest mistake.
const maxRefused = 16

func tooLarge(what string, n, limit int) error {
	return fmt.Errorf("%w: %d %s, at most %d", ErrTooLarge, n, what, limit)
}

// hasControl reports whether s has a control character, which must not reach
// logs, metrics and other nodes in a name. Unlike names.Clean it takes UTF-8
// for granted, which the JSON of an event was checked for: it runs for each event.
func hasControl(s []byte) bool {
	for i, c := range s {
		if c < ' ' || c == 0x7f || c == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0 { // C0, DEL, C1
			return true
		}
	}
	return false
}
