package hub

import (
	"cmp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/recovery"
)

// Namespace is a separate space of sockets and rooms.
type Namespace struct {
	// Static after construction.
	hub     *Hub
	name    string
	wire    []byte // name, for packets; read only
	dynamic bool   // exists because of a pattern

	spec   atomic.Pointer[NamespaceConfig]
	ackIDs atomic.Int64 // the last acknowledgement id asked of clients
	refs   int          // sockets, and connects under way; guarded by Hub.mu
	unused *time.Timer  // runs while nobody is in a dynamic one; guarded by Hub.mu

	inhabited atomic.Bool // there was a socket in it

	index      holder // of rooms and who is in them
	collectors collectors
	deduper    deduper
	typists    typists
	announcer  announcer
	history    history

	// mu guards one invariant: the room index and each socket's own list of
	// rooms say the same.
	mu     sync.RWMutex
	closed bool // nobody may join any more
	byID   map[string]*Socket
	all    room             // every socket
	rooms  map[string]*room // plain rooms
	users  map[string]*room // rooms of users, by user id

	appearing map[*Socket]string // the users that anonymous sockets count as
}

// room is a set of sockets, laid out for iteration: a broadcast reads members
// and nothing else.
type room struct {
	name    string
	kind    AddressKind
	members []member
}

// everybody is the kind of the one room that a namespace keeps of all.
const everybody AddressKind = 255

// member is one socket in a room, with what a delivery needs.
type member struct {
	session *engine.Session
	socket  *Socket
	at      int32 // index of this room in socket.rooms
	codec   codecID
}

// membership is one room of a socket.
type membership struct {
	room *room
	at   int32 // index of the socket in room.members
}

func newNamespace(h *Hub, name string, dynamic bool, spec *NamespaceConfig) *Namespace {
	n := &Namespace{
		hub: h, name: name, wire: []byte(name), dynamic: dynamic,
		all:   room{kind: everybody},
		byID:  map[string]*Socket{},
		rooms: map[string]*room{},
		users: map[string]*room{},

		index: holder{h.engine, budget.Sockets},
	}
	n.deduper = newDeduper(holder{h.engine, budget.Dedupe})
	n.typists.init(holder{h.engine, budget.Presence})
	n.history.ns, n.history.holder = n, holder{h.engine, budget.Recovery}
	n.history.configure(h.config.Load())
	n.spec.Store(spec)
	n.announcer = announcer{ns: n, holder: holder{h.engine, budget.Announcements}, config: spec.Presence, rooms: map[string]*audience{}, busy: map[string]*audience{}}
	return n
}

func (n *Namespace) policy() Policy { return n.spec.Load().Policy }

// roomsPerSocket is the limit in force.
func (n *Namespace) roomsPerSocket() int {
	return cmp.Or(n.spec.Load().RoomsPerSocket, n.hub.config.Load().RoomsPerSocket)
}

// admission is what became of a socket that was to join.
type admission uint8

const (
	admitted admission = iota
	gone               // the namespace is, or the socket
	crowded            // the user has too many connections in the namespace
	behind             // for now: what it missed was forgotten while it connected
)

// add makes s a socket of the namespace, in its own rooms. hello is what s
// gets before anything that others send it.
func (n *Namespace) add(s *Socket, hello func()) admission {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := s.UserID()
	switch {
	case n.closed || s.isGone():
		return gone
	case id != "" && !n.mayUserLocked(id):
		return crowded
	case !s.gatherMissed():
		return behind
	}
	s.left = nil
	n.byID[s.id] = s
	if r := s.recovery; r != nil && r.appeared != "" && id == "" {
		n.appearLocked(s, r.appeared)
	}
	addMember(&n.all, s)
	if id != "" {
		addMember(indexed(n.users, id, UserRoom), s)
	}
	s.joined = true
	n.inhabited.Store(true)
	n.entered(s, "")
	n.arrived(s, "")
	hello()
	if s.recovery != nil {
		n.resumeLocked(s)
	}
	return admitted
}

// removal is what became of a socket that was to leave.
type removal uint8

const (
	notThere removal = iota
	removed
	kept // removed, and may be recovered
)

// remove takes s out of the namespace and all its rooms. The caller evicts those
// that give way to it.
func (n *Namespace) remove(s *Socket, reason string) (became removal, evicted []*recovery.Seat) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !s.joined {
		return notThere, nil
	}
	s.joined = false
	if s.recovery != nil {
		s.recovery.appeared = n.appearing[s]
	}
	s.left = s.roomNamesLocked()
	now, grace := time.Now(), n.grace()
	n.eachPlaceLocked(s, func(room string) { n.departed(s, room, now, grace) })
	delete(n.appearing, s)
	delete(n.byID, s.id)
	for len(s.rooms) > 0 {
		n.removeMemberLocked(s, len(s.rooms)-1)
	}
	s.rooms = nil
	became = removed
	ok, evicted := n.history.keep(s, reason)
	if ok {
		became = kept
	}
	return became, evicted
}

// close disconnects all sockets of a namespace that is gone.
func (n *Namespace) close() {
	n.mu.Lock()
	n.closed = true
	sockets := make([]*Socket, 0, len(n.all.members))
	n.all.each(func(s *Socket) { sockets = append(sockets, s) })
	n.mu.Unlock()
	b := engine.NewBatch()
	defer b.Flush()
	for _, s := range sockets {
		s.kick(b)
	}
	n.history.end()
}

// join adds s to rooms, which its client has chosen or not; it stops at the first
// that does not fit.
// indexed returns the room called name in index, made on the spot.
func indexed(index map[string]*room, name string, kind AddressKind) *room {
	r := index[name]
	if r == nil {
		name = strings.Clone(name) // it may alias a message
		r = &room{name: name, kind: kind}
		index[name] = r
	}
	return r
}

// addMember adds s, which must not be in r. The caller holds Namespace.mu.
func addMember(r *room, s *Socket) {
	r.members = append(r.members, member{session: s.session(), socket: s, codec: s.client().codec, at: int32(len(s.rooms))})
	s.rooms = append(s.rooms, membership{room: r, at: int32(len(r.members) - 1)})
}

// removeMemberLocked removes s from its i-th room. The last member of the room
// and the last room of s move into the gaps.
func (n *Namespace) removeMemberLocked(s *Socket, i int) {
	r, at := s.rooms[i].room, s.rooms[i].at
	last := len(r.members) - 1
	moved := r.members[last]
	r.members[at] = moved
	moved.socket.rooms[moved.at].at = at
	r.members[last] = member{}
	r.members = r.members[:last]

	last = len(s.rooms) - 1
	s.rooms[i] = s.rooms[last]
	s.rooms[last] = membership{}
	s.rooms = s.rooms[:last]
	if i < last {
		s.rooms[i].room.members[s.rooms[i].at].at = int32(i)
	}

	if r.kind == Room {
		n.index.hold(-memberCost)
	}
	switch {
	case len(r.members) == 0 && r.kind != everybody:
		n.dropRoomLocked(r)
	case cap(r.members) > 64 && len(r.members) < cap(r.members)/4:
		r.members = append(make([]member, 0, cap(r.members)/2), r.members...)
	}
}

func (n *Namespace) dropRoomLocked(r *room) {
	if r.kind == UserRoom {
		delete(n.users, r.name)
	} else {
		delete(n.rooms, r.name)
		n.index.hold(-roomCost - len(r.name))
	}
}

// memberCount counts the sockets that a names.
func (n *Namespace) memberCount(a Address) int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if r := n.roomLocked(a); r != nil {
		return len(r.members)
	}
	if n.socketLocked(a) != nil {
		return 1
	}
	return 0
}

func (n *Namespace) stats() NamespaceStats {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return NamespaceStats{Name: n.name, Sockets: len(n.all.members), Rooms: len(n.rooms)}
}
