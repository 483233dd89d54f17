// Package presence knows who is where: which users have sockets in a
// namespace and in each of its rooms, and what an audience knows of that.
//
// hub → **presence**. It is pure data: fed and asked by the hub, without
// goroutines, timers or a clock of its own. It knows neither sockets nor
// connections; anonymous sockets are nobody to it.
package presence

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// State counts the sockets of each user in each place: a room or, with room
// "", the whole namespace. A user with several sockets is one member: first
// in, last out. The zero value is ready; it is safe for concurrent use, and no
// call does more than its answer needs.
type State struct {
	// Grew is called with the bytes, about, by which the State has grown or, if
	// negative, shrunk; nil:
	// nobody is. It is called with the State locked. The users whom LastSeen
	// remembers do not count: there is room for a fixed number of them.
	Grew func(bytes int)

	mu     sync.RWMutex
	spaces map[string]*space // by namespace; none is empty
	seen   seen
}

// space is one namespace.
type space struct {
	places map[string]map[string]int // room → user → sockets; none is empty
	absent map[spot]time.Time        // members without a socket, and until when they are
}

// spot is a user in a room.
type spot struct{ room, user string }

// Entered notes that one more socket of the user is in a place. It reports
// whether the user was no member of it.
func (s *State) Entered(namespace, room, user string) (came bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[namespace]
	if sp == nil {
		if s.spaces == nil {
			s.spaces = map[string]*space{}
		}
		sp = &space{places: map[string]map[string]int{}}
		s.spaces[namespace] = sp
	}
	users := sp.places[room]
	if users == nil {
		users = map[string]int{}
		sp.places[room] = users
		s.grew(placeCost)
	}
	sockets, member := users[user]
	if member && sockets == 0 {
		delete(sp.absent, spot{room, user})
	}
	users[user] = sockets + 1
	if !member {
		s.grew(memberCost + len(user))
	}
	return !member
}

// What there is of each beside its texts, in bytes, about.
const (
	placeCost  = 300
	memberCost = 150 // with the note that one is absent
)

func (s *State) grew(bytes int) {
	if s.Grew != nil {
		s.Grew(bytes)
	}
}

// Left undoes one Entered. A user without a socket stays a member for the time
// of grace, until Expire; with 0 it goes at once. Left reports whether the
// user is a member no more.
func (s *State) Left(namespace, room, user string, now time.Time, grace time.Duration) (went bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[namespace]
	users := sp.places[room]
	if users[user]--; users[user] > 0 {
		return false
	}
	if room == "" {
		s.seen.note(seenKey{namespace, user}, now)
	}
	if grace > 0 {
		if sp.absent == nil {
			sp.absent = map[spot]time.Time{}
		}
		sp.absent[spot{room, user}] = now.Add(grace)
		return false
	}
	s.dropLocked(namespace, spot{room, user})
	return true
}

func (s *State) dropLocked(namespace string, at spot) {
	sp := s.spaces[namespace]
	users := sp.places[at.room]
	delete(users, at.user)
	s.grew(-memberCost - len(at.user))
	if len(users) == 0 {
		delete(sp.places, at.room)
		s.grew(-placeCost)
	}
	if len(sp.places) == 0 {
		delete(s.spaces, namespace)
	}
}

// Expire ends the membership of those whose grace is over at now, and calls
// went for each; went must not call back. It returns when the next one's will
// be, zero if nobody is absent.
func (s *State) Expire(namespace string, now time.Time, went func(room, user string)) (next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[namespace]
	if sp == nil {
		return next
	}
	for at, until := range sp.absent {
		switch {
		case !until.After(now):
			delete(sp.absent, at)
			s.dropLocked(namespace, at)
			went(at.room, at.user)
		case next.IsZero() || until.Before(next):
			next = until
		}
	}
	return next
}

// Members lists the users in a place, each once and sorted.
func (s *State) Members(namespace, room string) []string {
	users := s.users(namespace, room)
	slices.Sort(users) // without the lock: whoever waits for it holds up a namespace
	return users
}

func (s *State) users(namespace, room string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if sp := s.spaces[namespace]; sp != nil {
		return slices.Collect(maps.Keys(sp.places[room]))
	}
	return nil
}

// IsMember reports whether the user is in a place.
func (s *State) IsMember(namespace, room, user string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sp := s.spaces[namespace]
	if sp == nil {
		return false
	}
	_, member := sp.places[room][user]
	return member
}

// LastSeen is when the user's last socket left the namespace: now if one is
// there, zero if none was in the last 24 hours, or if 10,000 other users of
// any namespace have left since.
func (s *State) LastSeen(namespace, user string, now time.Time) time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if sp := s.spaces[namespace]; sp != nil && sp.places[""][user] > 0 {
		return now
	}
	return s.seen.at(seenKey{namespace, user}, now)
}
