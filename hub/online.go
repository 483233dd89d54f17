package hub

import (
	"maps"
	"slices"
)

// What follows answers from the room index, for users on this node. It takes
// time linear in what it looks through.

// online lists the users who have a socket in the namespace, sorted.
func (n *Namespace) online() []string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return slices.Sorted(maps.Keys(n.users))
}

// isOnline reports whether the user has a socket in the namespace.
func (n *Namespace) isOnline(user string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.users[user] != nil
}

// members lists the users who have a socket in a room, each once, sorted.
func (n *Namespace) members(a Address) []string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var users []string
	n.eachLocked(a, func(s *Socket) {
		if id := s.UserID(); id != "" {
			users = append(users, id)
		}
	})
	slices.Sort(users)
	return slices.Compact(users)
}
