package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/guard"
)

// frameCost is about what a queued message takes in addition to its bytes.
const frameCost = 100

// Memory is held in places that grow with what clients do, each counted once:
// a message that waits in a thousand outboxes is one message. Only what waits
// is counted, so that the usual way of a message costs nothing for it.

// Hold counts n bytes more, or less, that clients make the process hold. It
// never blocks. If all is too much, the server reclaims what is only kept in case
// it is wanted, and then closes sessions.
func (s *Server) Hold(u budget.Use, n int) {
	total := s.memory.Add(u, n)
	limit := int64(s.config.Load().Memory)
	if n <= 0 || limit <= 0 || total <= limit/10*7 {
		return
	}
	if total <= limit && (s.reclaimable() == 0 || int64(s.now()) < s.reclaimed.Load()+int64(reclaimPause)) {
		return
	}
	if int64(s.now()) >= s.shedBackoff.Load() && s.shedding.CompareAndSwap(false, true) {
		go s.shedLoad()
	}
}

// reclaim has what is only kept in case it is wanted given up, until three
// fifths of the limit are held. The caller holds no lock.
func (s *Server) reclaim() {
	limit := int64(s.config.Load().Memory)
	if excess := s.memory.Total() - limit/10*6; limit > 0 && excess > 0 && s.reclaimable() > 0 {
		s.reclaimed.Store(int64(s.now()))
		s.config.Load().Reclaim(int(excess))
	}
}

// reclaimable is how much is held that is only kept in case it is wanted.
func (s *Server) reclaimable() int64 {
	return s.memory.Of(budget.Recovery) + s.memory.Of(budget.Dedupe)
}

// shedPause is how long no sessions are closed after that did not help: then the
// memory is not in outboxes, and looking for them is not free.
const shedPause = time.Second

// reclaimPause is how long nothing is reclaimed after that, unless a new client
// would be refused.
const reclaimPause = 100 * time.Millisecond

// memoryPressure reports whether so much memory is held that handshakes are refused
// and volatile messages are dropped.
func (s *Server) memoryPressure() bool {
	limit := s.config.Load().Memory
	return limit > 0 && s.memory.Total() > int64(limit)/10*8
}

// shedLoad reclaims and, if more than the limit is held all the same, closes the
// sessions whose clients have left most unread until less than nine tenths of it
// are held.
func (s *Server) shedLoad() {
	defer s.caught("relief", nil)
	defer s.shedding.Store(false)
	guard.Fault("relief")
	limit := int64(s.config.Load().Memory)
	if limit == 0 {
		return // a reload has lifted it
	}
	if s.reclaim(); s.memory.Total() <= limit {
		return
	}
	s.exhausted.Add(budget.MemoryUse)
	enough := limit / 10 * 9
	for _, session := range s.byBacklog() {
		if s.memory.Total() <= enough {
			return
		}
		session.shed()
	}
	if s.memory.Total() > enough {
		s.shedBackoff.Store(int64(s.now() + instant(shedPause)))
	}
}

// byBacklog lists the sessions whose clients have left something unread, those
// with the most first.
func (s *Server) byBacklog() []*Session {
	type backlog struct {
		session *Session
		bytes   int
	}
	var all []backlog
	for _, session := range s.all() {
		session.mu.Lock()
		if session.held > 0 {
			all = append(all, backlog{session, session.queued})
		}
		session.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b backlog) int { return cmp.Compare(b.bytes, a.bytes) })
	sessions := make([]*Session, len(all))
	for i, a := range all {
		sessions[i] = a.session
	}
	return sessions
}

// shed ends the session as a slow consumer's.
func (s *Session) shed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.isOpen() {
		s.abortLocked(SlowConsumer)
	}
	s.unholdLocked()
}

// holdLocked counts what waits in the outbox and was not counted yet.
func (s *Session) holdLocked() {
	if s.state >= aborted {
		return // it goes in a moment
	}
	for _, f := range s.outbox[s.head+int(s.held):] {
		if f.holders.Add(1) == 1 {
			s.server.Hold(budget.Outboxes, f.Len()+frameCost)
		}
		s.held++
	}
}

// unholdLocked undoes holdLocked: what is left waits for a moment at most.
func (s *Session) unholdLocked() {
	for ; s.held > 0; s.held-- {
		s.releaseLocked(s.outbox[s.head+int(s.held)-1])
	}
}

// releaseLocked takes off one that was counted.
func (s *Session) releaseLocked(f *Frames) {
	if f.holders.Add(-1) == 0 {
		s.server.Hold(budget.Outboxes, -f.Len()-frameCost)
	}
}
