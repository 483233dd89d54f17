package engine

import (
	"net/http"

	"github.com/caddy-realtime/realtime/internal/guard"
)

// caught is deferred first in what runs on a goroutine of the engine and
// around every call of a Receiver or Handler. It keeps a panic from ending the
// process and closes the session that was served, if any. guard.Fault follows
// it.
func (s *Server) caught(place string, session *Session) {
	if cause := recover(); cause != nil {
		s.recovered(place, session, cause)
	}
}

// caughtRequest is caught for a request: what was answered so far is cut off.
// http.ErrAbortHandler is how others want that done, and no trouble of ours.
func (s *Server) caughtRequest() {
	switch cause := recover(); cause {
	case nil:
	case http.ErrAbortHandler:
		panic(cause)
	default:
		s.recovered("request", nil, cause)
		panic(http.ErrAbortHandler)
	}
}

func (s *Server) recovered(place string, session *Session, cause any) {
	s.panics.Note(s.config.Load().Logger, place, cause)
	if session != nil {
		session.broke()
	}
}

// always runs f until it returns without a panic: everybody depends on it.
func (s *Server) always(place string, f func()) {
	for !s.survived(place, f) {
	}
}

// insist runs f, and once more if it panics: others wait for what it does, but
// it may be f that cannot be done.
func (s *Server) insist(place string, f func()) {
	if !s.survived(place, f) {
		s.survived(place, f)
	}
}

func (s *Server) survived(place string, f func()) (ok bool) {
	defer s.caught(place, nil)
	guard.Fault(place)
	f()
	return true
}
