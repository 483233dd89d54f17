package netpoll

import "time"

// A TLS connection cannot be tried: its Read waits for whole records. So its
// socket is asked. While there is nothing to read, the connection holds neither a
// goroutine nor a buffer; a client that sends half a record costs both until the
// rest comes.

// maxReads is how many records ReadBurst waits for.
const maxReads = 64

// A Reader reads a TLS connection for ReadBurst and ReadHeld.
type Reader interface {
	// ReadOnce reads once from the connection and handles what came. goOn is
	// false if no more can be read; late reports whether the read deadline ended
	// the read, which must not count as an error.
	ReadOnce() (goOn, late bool)
	// Enough reports whether no more is to be read for now.
	Enough() bool
}

// ReadBurst reads what has arrived on a Secure socket, at least one record. It
// waits for the rest of that one; then for a moment only, since answers are
// waiting to go out. It reports whether to go on.
func ReadBurst(s *Socket, t *Try, r Reader) (goOn bool) {
	goOn, late := r.ReadOnce()
	for reads := 1; ; reads++ {
		if !goOn || !ReadHeld(s, r) {
			return false
		}
		if late || reads == maxReads || r.Enough() || !t.Arrived(s) {
			return true
		}
		_ = s.SetReadDeadline(time.Now().Add(time.Millisecond))
		goOn, late = r.ReadOnce()
	}
}

var longAgo = time.Unix(1, 0)

// ReadHeld reads the records that TLS has already taken from the socket, which a
// Poller does not know of. It reads with a deadline that has passed, so that TLS
// finds no other records. Later reads continue when the deadline is lifted, because
// crypto/tls keeps only errors that are not temporary.
func ReadHeld(s *Socket, r Reader) (goOn bool) {
	// These fail on a connection that is gone only, which the next read finds.
	_ = s.SetReadDeadline(longAgo)
	for late := false; !late; {
		if goOn, late = r.ReadOnce(); !goOn {
			return false
		}
	}
	_ = s.SetReadDeadline(time.Time{})
	return true
}
