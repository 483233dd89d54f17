package hub

import (
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/guard"
)

// caught is deferred first in what runs on a goroutine of the hub. It keeps a
// panic from ending the process and closes the session that was served, if
// any. guard.Fault follows it.
func (h *Hub) caught(place string, s *engine.Session) {
	if cause := recover(); cause != nil {
		h.panics.Note(h.log(), place, cause)
		if s != nil {
			s.Close(engine.TransportError)
		}
	}
}

// guard runs f; if that panics, it closes the session that f served, if any.
func (h *Hub) guard(place string, s *engine.Session, f func()) (ok bool) {
	defer h.caught(place, s)
	guard.Fault(place)
	f()
	return true
}

// insist runs f, and once more if it panics: others wait for what it does, but
// it may be f that cannot be done.
func (h *Hub) insist(place string, f func()) {
	if !h.guard(place, nil, f) {
		h.guard(place, nil, f)
	}
}
