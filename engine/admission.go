package engine

import (
	"net/netip"
	"runtime"
	"time"

	"github.com/caddy-realtime/realtime/internal/budget"
)

// admit lets a handshake begin, or answers it with 503: before anything of a
// session is allocated, and before anybody looks at a token. An address is
// asked for its own limits first, so that one cannot use up what is for all.
// Whoever was admitted owes a call of done.
func (q *request) admit() bool {
	s := q.server
	if kind, ok := s.admit(q); !ok {
		s.exhausted.Add(kind)
		s.handshaken(limited)
		q.logRefusal(limited, kind.String(), "")
		q.refuse(errBusy)
		return false
	}
	return true
}

func (s *Server) admit(q *request) (kind budget.Kind, ok bool) {
	now := time.Duration(s.now())
	c := q.config
	if s.handshakes.Add(1) > int64(64*runtime.GOMAXPROCS(0)) {
		s.handshakes.Add(-1)
		return budget.Handshakes, false
	}
	defer func() {
		if !ok {
			q.done()
		}
	}()
	if q.info.Exempt = q.info.Exempt || !q.address().IsValid(); !q.info.Exempt {
		if !s.addresses.Visit(q.address(), now).Connects.Take(c.ConnectRate, 1, now) {
			return budget.ConnectRate, false
		}
		if q.account = s.addresses.Hold(q.address(), c.SessionsPerIP, now); q.account == nil {
			return budget.ConnectionsPerIP, false
		}
	}
	if s.memoryPressure() {
		s.reclaim() // what is only kept in case it is wanted goes first
		if s.memoryPressure() {
			return budget.MemoryUse, false
		}
	}
	if !s.mayOpen(c.MaxSessions) {
		return budget.Connections, false
	}
	return budget.Accept, s.accepted.Take(c.Accept, 1, now)
}

// mayOpen reports whether another session fits.
func (s *Server) mayOpen(limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed && (limit == 0 || s.live < limit)
}

// done gives back what only the handshake needs, and what a session would have
// taken over if there had been one.
func (q *request) done() {
	q.server.handshakes.Add(-1)
	if q.account != nil {
		q.server.addresses.Release(q.address(), time.Duration(q.server.now()))
		q.account = nil
	}
}

// address is what counts as one client: of IPv6 the network, since everybody
// has 2^64 addresses. It is invalid if the address is not known.
func (q *request) address() netip.Addr { return clientAddress(q.info.RemoteIP) }

// Address is what counts as one client, by its limits; it is invalid if the
// client is exempt from them.
func (h *Handshake) Address() netip.Addr {
	if h.Info.Exempt {
		return netip.Addr{}
	}
	return clientAddress(h.RemoteIP)
}

func clientAddress(ip string) netip.Addr {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Addr{}
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	network, err := a.Prefix(64)
	if err != nil {
		return netip.Addr{}
	}
	return network.Addr()
}

// release takes an ended session out of its address' account.
func (s *Server) release(session *Session) {
	if a := session.handshake.Address(); a.IsValid() {
		s.addresses.Release(a, time.Duration(s.now()))
	}
}

// result is how a handshake went.
type result uint8

const (
	accepted  result = iota // there is a session
	foreign                 // its origin may not connect
	malformed               // no handshake of Engine.IO v4
	limited                 // a limit said no
	failed                  // it was accepted, and the client or the handler failed
	results
)

var resultNames = [results]string{"accepted", "origin", "malformed", "limited", "failed"}

func (s *Server) handshaken(r result) { s.results[r].Add(1) }
