package engine

import "time"

// A transport carries a session's messages to its client: polling, or a conn,
// which is a WebSocket. A session begins with polling; attach and completeUpgrade
// make a WebSocket its transport, for good. The methods are called with the
// session's mu held and do not block, unless they say otherwise.
type transport interface {
	// blocked reports whether the client cannot take a message right now.
	blocked() bool
	// flush sends what is queued, as far as that needs no waiting, and sees to
	// it that the rest follows.
	flush(b *Batch)
	// end tells the client that the session has ended. A WebSocket gets last, if
	// it is not nil, after what is queued.
	end(last *Frames)
	// lingers is how long the client may take to get the end; 0: there is nothing
	// to wait for.
	lingers() time.Duration
	// resume reads again if it was paused until t or earlier. It returns the end
	// of a pause that stays; 0: there is none.
	resume(t instant) (until instant)
	// close closes the connection, if there is one. It may block for a moment; mu
	// is not held.
	close()
}

// polls reports whether the transport is polling. mu is held.
func (s *Session) polls() bool {
	_, ok := s.transport.(polling)
	return ok
}
