package engine

// state is how far a session's life is. It only ever goes forward, and the end
// that a client gets only becomes harsher: all states after leaving are ends.
//
//	open → leaving → closing → dismissed → halfClosed → aborted → closed
//
// Any of them may be skipped. advanceLocked is the one place that changes it.
type state uint8

const (
	// open: messages come and go.
	open state = iota
	// leaving is open until a pause is over: by CloseSoon.
	leaving
	// closing: a WebSocket gets what is queued and a close frame, and has
	// closeTimeout to answer. A polling client has pollingCloseTimeout to fetch
	// what is queued and the close packet. Input is dropped.
	closing
	// dismissed is the same for a WebSocket. A polling client gets nothing more,
	// but what its pending GET takes along: it has the close packet, or has failed.
	dismissed
	// halfClosed is for a WebSocket whose input cannot be understood any more:
	// after our close frame our side of the connection ends.
	halfClosed
	// aborted: nothing more goes out. A WebSocket is closed without a close frame.
	aborted
	// closed: the connection is closed and the outbox dropped.
	closed
)

// isOpen reports whether messages come and go.
func (st state) isOpen() bool { return st <= leaving }

// isEnding reports whether the reason is known and the connection not closed yet.
func (st state) isEnding() bool { return st > leaving && st < closed }

// advanceLocked changes the state; false if the session is that far already.
func (s *Session) advanceLocked(to state) bool {
	if to <= s.state {
		return false
	}
	s.state = to
	return true
}

func (s *Session) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.isOpen()
}

// Leaving reports whether CloseSoon was called, or the session has ended.
func (s *Session) Leaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state > open
}
