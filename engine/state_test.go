package engine

import "testing"

// However a session ends, and whatever happens to it after that, its state only goes
// forward and its first reason stays.
func TestStateOnlyGoesForward(t *testing.T) {
	steps := []struct {
		name string
		do   func(*Session)
		end  state
	}{
		{"CloseSoon", (*Session).CloseSoon, leaving},
		{"Close", func(s *Session) { s.Close(ForcedClose) }, closing},
		{"Reject", func(s *Session) { s.Reject(ForcedClose, CloseInvalid, "") }, closing},
		{"fail", func(s *Session) { s.fail(PingTimeout, CloseInvalid) }, dismissed},
		{"halfClose", func(s *Session) { locked(s, func() { s.halfCloseLocked(TransportError, emptyClose) }) }, halfClosed},
		{"abort", func(s *Session) { locked(s, func() { s.abortLocked(SlowConsumer) }) }, aborted},
		{"finish", (*Session).finish, closed},
	}
	srv := NewServer(deaf{}, Config{})
	defer srv.retire()
	for _, first := range steps[:len(steps)-1] {
		for _, second := range steps {
			s := openedBy(srv)
			first.do(s)
			state, reason := s.seen()
			if state < first.end {
				t.Errorf("%s: state %d, want %d", first.name, state, first.end)
			}
			second.do(s)
			after, reasonAfter := s.seen()
			if after < state || after < first.end {
				t.Errorf("%s, then %s: state %d after %d", first.name, second.name, after, state)
			}
			if reason != "" && reasonAfter != reason {
				t.Errorf("%s, then %s: reason %q after %q", first.name, second.name, reasonAfter, reason)
			}
			s.finish()
		}
	}
}

func locked(s *Session, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *Session) seen() (state, Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.reason
}
