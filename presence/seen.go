package presence

import (
	"container/list"
	"time"
)

const (
	maxSeen  = 10_000         // users who have left
	seenTime = 24 * time.Hour // how long one is remembered
)

// seen remembers when users left: the latest maxSeen of them, for seenTime.
type seen struct {
	users map[seenKey]*list.Element
	order list.List // of *departure, the earliest first
}

type seenKey struct{ namespace, user string }

type departure struct {
	who seenKey
	at  time.Time
}

func (s *seen) note(who seenKey, now time.Time) {
	if s.users == nil {
		s.users = map[seenKey]*list.Element{}
	}
	if e := s.users[who]; e != nil {
		e.Value.(*departure).at = now
		s.order.MoveToBack(e)
	} else {
		s.users[who] = s.order.PushBack(&departure{who, now})
	}
	for e := s.order.Front(); len(s.users) > maxSeen || now.Sub(e.Value.(*departure).at) > seenTime; e = s.order.Front() {
		delete(s.users, e.Value.(*departure).who)
		s.order.Remove(e)
	}
}

func (s *seen) at(who seenKey, now time.Time) time.Time {
	e := s.users[who]
	if e == nil || now.Sub(e.Value.(*departure).at) > seenTime {
		return time.Time{}
	}
	return e.Value.(*departure).at
}
