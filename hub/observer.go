package hub

import (
	"net/http"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
)

// Opening is what belongs to the session that a request may open.
type Opening struct {
	// Credentials are what the request brings for Authenticators. The session
	// keeps them for all its CONNECTs.
	Credentials auth.Request
	// Observer follows the session; nil: none does.
	Observer SessionObserver
}

// A SessionObserver is told of a session's life. Its methods are called on any
// goroutine, with locks held: they must not block, nor call the hub.
type SessionObserver interface {
	// Joined is called for each socket of the session, when it has joined its
	// namespace. userID is "" if it is anonymous.
	Joined(socketID, userID string)
	// Ended is called once, last, with the reason for the end of the session.
	Ended(reason string)
}

// Serve answers one request. opening is nil for a request that belongs to a
// session already, or brings nothing.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, info engine.Info, opening *Opening) {
	if opening != nil {
		info.Handler = opener{h, opening}
	}
	h.engine.Serve(w, r, info)
}

// opener is the engine.Handler of one request.
type opener struct {
	hub     *Hub
	opening *Opening
}

// Open implements engine.Handler.
func (o opener) Open(s *engine.Session) engine.Receiver { return o.hub.open(s, o.opening) }

var noOpening Opening

// Open implements engine.Handler for a request that brings nothing.
func (h *Hub) Open(s *engine.Session) engine.Receiver { return h.open(s, &noOpening) }
