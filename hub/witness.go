package hub

import "github.com/caddy-realtime/realtime/engine"

// A Witness is told of a session's life. The Info.Aux of a session may be one.
// Its methods are called on whatever goroutine, with locks held: they must not
// block, nor call the hub.
type Witness interface {
	// Joined is called for each socket of the session, when it has joined its
	// namespace. userID is "" if it is anonymous.
	Joined(socketID, userID string)
	// Ended is called once, last, with the reason for the end of the session.
	Ended(reason string)
}

func witness(s *engine.Session) Witness {
	w, _ := s.Handshake().Info.Aux.(Witness)
	return w
}
