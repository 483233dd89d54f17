// Package presence knows who is where: which users have sockets in a
// namespace, and in each of its rooms.
//
// hub → **presence**. It is fed by the hub and knows neither sockets nor
// connections; anonymous sockets are nobody to it.
package presence

import (
	"maps"
	"slices"
	"sync"
)

// State counts the sockets of each user in each place. A user with several
// sockets is one member: first in, last out. The zero value is ready; it is
// safe for concurrent use, and no call does more than its answer needs.
type State struct {
	mu     sync.RWMutex
	places map[place]map[string]int // user → sockets; none is empty
}

// place is a room or, with room "", the whole namespace.
type place struct{ namespace, room string }

// Entered notes that one more socket of the user is in a room, or with room ""
// in the namespace.
func (s *State) Entered(namespace, room, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := place{namespace, room}
	if s.places == nil {
		s.places = map[place]map[string]int{}
	}
	if s.places[at] == nil {
		s.places[at] = map[string]int{}
	}
	s.places[at][user]++
}

// Left undoes one Entered.
func (s *State) Left(namespace, room, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := place{namespace, room}
	users := s.places[at]
	if users[user]--; users[user] > 0 {
		return
	}
	delete(users, user)
	if len(users) == 0 {
		delete(s.places, at)
	}
}

// Members lists the users in a room, or with room "" in the namespace, each
// once and sorted.
func (s *State) Members(namespace, room string) []string {
	users := s.users(place{namespace, room})
	slices.Sort(users) // without the lock: whoever waits for it holds up a namespace
	return users
}

func (s *State) users(at place) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Keys(s.places[at]))
}

// IsMember reports whether the user is in a room, or with room "" in the
// namespace.
func (s *State) IsMember(namespace, room, user string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.places[place{namespace, room}][user] > 0
}
