package engine

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// panics counts what was recovered and keeps the log quiet: a stack a minute
// for each place.
type panics struct {
	count atomic.Uint64

	mu     sync.Mutex
	logged map[string]time.Time
}

// caught is deferred first in everything that runs on a goroutine of the
// engine and around every call of a Receiver or Handler. It keeps a panic from
// ending the process and closes the session that was served, if any.
func (s *Server) caught(place string, session *Session) {
	cause := recover()
	if cause == nil {
		return
	}
	s.panics.count.Add(1)
	if s.panics.due(place) {
		stack := make([]byte, 4<<10)
		stack = stack[:runtime.Stack(stack, false)]
		s.config.Load().Logger.Error("panic", "place", place, "panic", fmt.Sprint(cause), "stack", string(stack))
	}
	if session != nil {
		session.broke()
	}
}

// always runs f until it returns without a panic: everybody depends on it.
func (s *Server) always(place string, f func()) {
	for !s.survived(place, f) {
	}
}

func (s *Server) survived(place string, f func()) (ok bool) {
	defer s.caught(place, nil)
	f()
	return true
}

func (p *panics) due(place string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, ok := p.logged[place]; ok && time.Since(last) < time.Minute {
		return false
	}
	if p.logged == nil {
		p.logged = map[string]time.Time{}
	}
	p.logged[place] = time.Now()
	return true
}
