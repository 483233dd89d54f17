package hub

import (
	"strings"
	"time"

	"github.com/caddy-realtime/realtime/internal/names"
)

// PresenceConfig says what the sockets of a namespace are told of who comes
// and goes. The zero value: nothing.
type PresenceConfig struct {
	Announce Announce
	// Interval is the time in which changes are told together; default 100 ms.
	Interval time.Duration
	// Grace is how long a user stays a member, of the namespace and of rooms,
	// after its last socket disconnected. 0: not at all.
	Grace time.Duration
	// Rooms reports whether the members of a room are told to those in it;
	// nil: of none. It is called without locks, and may be called again for
	// the same room.
	Rooms func(room string) bool
}

// Announce is how the users of a namespace are told.
type Announce uint8

const (
	AnnounceOff  Announce = iota
	AnnounceList          // online-users [ids]; above maxListed users as diffs
	AnnounceDiff          // user-online and user-offline {userId, timestamp}
)

// On reports whether anything is told.
func (c PresenceConfig) On() bool { return c.Announce != AnnounceOff || c.Rooms != nil }

// PresenceEvents are the events that a namespace's presence sends.
var PresenceEvents = []string{onlineUsers, userOnline, userOffline, roomMembers}

// CheckUserID refuses what may not be shown as a user's id.
func CheckUserID(id string) *Refusal {
	switch {
	case reserved(id):
		return &Refusal{Code: Forbidden, Message: "Reserved user id"}
	case id == "" || len(id) > names.MaxUser || !names.Clean(id):
		return &Refusal{Code: Invalid, Message: "Invalid user id"}
	}
	return nil
}

// memberLocked is the id that s counts as; "": nobody.
func (n *Namespace) memberLocked(s *Socket) string {
	if id := s.UserID(); id != "" {
		return id
	}
	return n.appearing[s]
}

// entered and departed count a socket in a room or, with room "", in the
// namespace; grace is as for State.Left. They are called with n.mu held, so
// that presence hears of everything in order.
func (n *Namespace) entered(s *Socket, room string) {
	user := n.memberLocked(s)
	if user != "" && n.hub.presence.Entered(n.name, room, user) && n.spec.Load().Presence.On() {
		n.announcer.changed(room, user)
	}
}

func (n *Namespace) departed(s *Socket, room string, now time.Time, grace time.Duration) {
	user := n.memberLocked(s)
	switch {
	case user == "":
	case n.hub.presence.Left(n.name, room, user, now, grace):
		if n.spec.Load().Presence.On() {
			n.announcer.changed(room, user)
		}
	case grace > 0:
		n.announcer.wake(now.Add(grace))
	}
}

// arrived notes that a socket is new in a room or, with room "", in the
// namespace: it may have to be told who is there. The caller holds n.mu.
func (n *Namespace) arrived(s *Socket, room string) {
	p := &n.spec.Load().Presence
	if room == "" && p.Announce == AnnounceList || room != "" && p.Rooms != nil {
		n.announcer.arrived(room, s.id)
	}
}

// grace is how long somebody who disconnects stays a member.
func (n *Namespace) grace() time.Duration {
	p := &n.spec.Load().Presence
	if n.closed || !p.On() {
		return 0
	}
	return p.Grace
}

// follow makes the namespace behave as spec says.
func (n *Namespace) follow(spec *NamespaceConfig) {
	old := n.spec.Swap(spec)
	if old.Presence.On() || spec.Presence.On() {
		n.announcer.reloaded()
	}
}

// settle ends what is left of the presence of a namespace that is gone:
// nobody waits for the end of a grace any more.
func (h *Hub) settle(n *Namespace) {
	const forever = 100 * 365 * 24 * time.Hour
	n.announcer.stop()
	h.presence.Expire(n.name, time.Now().Add(forever), func(string, string) {})
}

// Appear is the Action of making an anonymous socket count as a user in presence,
// and nowhere else. It is refused where there is an Authenticator; for a socket
// that has an identity it does nothing.
type Appear struct{ User string }

func (a *Appear) perform(c *call) *Refusal {
	s := c.socket
	switch {
	case s.UserID() != "":
		return nil
	case s.ns.spec.Load().Auth != nil:
		return &Refusal{Code: Forbidden, Message: "Log in to appear"}
	}
	if r := CheckUserID(a.User); r != nil {
		return r
	}
	user := strings.Clone(a.User)
	c.later(func() { s.ns.appear(s, user) })
	return nil
}

// appear makes an anonymous socket count as a user.
func (n *Namespace) appear(s *Socket, user string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !s.joined || n.appearing[s] == user {
		return
	}
	now := time.Now()
	n.eachPlaceLocked(s, func(room string) { n.departed(s, room, now, 0) })
	n.appearLocked(s, user)
	n.eachPlaceLocked(s, func(room string) { n.entered(s, room) })
}

func (n *Namespace) appearLocked(s *Socket, user string) {
	if n.appearing == nil {
		n.appearing = map[*Socket]string{}
	}
	n.appearing[s] = user
}

func (n *Namespace) eachPlaceLocked(s *Socket, f func(room string)) {
	f("")
	for _, m := range s.rooms {
		if m.room.kind == Room {
			f(m.room.name)
		}
	}
}

// size counts the namespace's sockets.
func (n *Namespace) size() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.all.members)
}

// places lists "" and, if asked for, the rooms.
func (n *Namespace) places(rooms bool) []string {
	list := []string{""}
	if !rooms {
		return list
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	for name := range n.rooms {
		list = append(list, name)
	}
	return list
}

// socketIDs lists the ids of the sockets in a room; "": in the namespace.
func (n *Namespace) socketIDs(room string) (ids []string) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	r := &n.all
	if room != "" {
		r = n.rooms[room]
	}
	if r != nil {
		r.each(func(s *Socket) { ids = append(ids, s.id) })
	}
	return ids
}

// isIn reports whether the socket of that id is in a room; "": in the
// namespace.
func (n *Namespace) isIn(id, room string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	s := n.byID[id]
	return s != nil && (room == "" || s.inLocked(n.rooms[room]))
}
