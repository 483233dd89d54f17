package hub

import (
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/parser"
)

// concludeConnect answers CONNECT, and then does what the policy decided.
func (c *call) concludeConnect(b *engine.Batch, r *Refusal) {
	s := c.socket
	if r == nil {
		switch s.ns.add(s, func() { s.hello(b) }) {
		case gone:
			r = errNoNamespace
		case crowded:
			r = errTooManyConnections
		case behind:
			s.refused("connect", errBehind)
			s.reject(b, nil)
			s.session().CloseSoon()
			return
		}
	}
	if r != nil {
		s.refused("connect", r)
		s.reject(b, r)
		return
	}
	s.finishRecovery(b, true, false)
	s.watchExpiry(c.view.identity)
	s.session().Established()
	s.ns.hub.log().Debug("socket joined", "socket_id", s.id, "user_id", s.UserID(), "namespace", s.ns.name, "remote_ip", s.session().Handshake().RemoteIP)
	for _, f := range c.deferred {
		f()
	}
}

// hello sends the CONNECT answer, and then what a recovered socket has missed:
// the stock client keeps events that come before CONNECT, does not count them as
// heard, and keeps them when the connection breaks; it would hear them again.
// The caller holds Namespace.mu: whoever ends the socket waits for it, and the
// witness hears of the end later.
func (s *Socket) hello(b *engine.Batch) {
	p := parser.Packet{Type: parser.Connect, ID: parser.NoID, Namespace: s.ns.wire, Data: s.connectData()}
	if s.client().codec == plainJSON && s.ns.name == "/" {
		p = s.plainOpen()
	}
	s.client().send(b, p)
	s.replay(b)
	if w := s.client().opening.Observer; w != nil {
		w.Joined(s.id, s.UserID())
	}
}
