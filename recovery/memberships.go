package recovery

import (
	"math"
	"slices"
	"unsafe"
)

// Memberships are the rooms of a socket, and those that it was in, by the
// offsets of a Log: it got what went to a room after from, up to to. Those that
// have ended count as well: a socket that left a room and then lost its
// connection may have missed what went there before, and must not hear what
// spared the room. The zero value is none. They are not safe for concurrent use.
type Memberships[A comparable] struct {
	list []membership[A] // in the order in which they began
	// What the socket missed is known from this offset on.
	known uint64
}

type membership[A comparable] struct {
	room     A
	from, to uint64
	chosen   bool // by the client
	revoked  bool // the socket may not be in the room any more: nothing of it is repeated
}

const (
	still    uint64 = math.MaxUint64 // to of a membership that has not ended
	maxEnded        = 128
)

// Join notes that the socket has joined a room after the event of that offset,
// and whether its client chose the room. A room that something else has chosen,
// too, stays so.
func (ms *Memberships[A]) Join(room A, offset uint64, chosen bool) {
	for i := range ms.list {
		if m := &ms.list[i]; m.room == room && m.to == still {
			m.chosen = m.chosen && chosen
			return
		}
	}
	ms.list = append(ms.list, membership[A]{room: room, from: offset, to: still, chosen: chosen})
}

// Leave notes that the socket has left a room after the event of that offset.
// What was sent up to floor is forgotten.
func (ms *Memberships[A]) Leave(room A, offset, floor uint64) {
	ended := 0
	for i := range ms.list {
		m := &ms.list[i]
		if m.room == room && m.to == still {
			m.to = offset
		}
		if m.to != still {
			ended++
		}
	}
	ms.list = slices.DeleteFunc(ms.list, func(m membership[A]) bool {
		if m.to == still {
			return false
		}
		pointless := m.to <= floor || m.from == m.to
		if !pointless && ended <= maxEnded {
			return false
		}
		ended--
		if !pointless {
			ms.known = max(ms.known, m.to)
		}
		return true
	})
}

// Revoke ends all memberships in a room that the socket may not be in any more.
func (ms *Memberships[A]) Revoke(room A, offset uint64) {
	for i := range ms.list {
		if m := &ms.list[i]; m.room == room {
			m.to, m.revoked = min(m.to, offset), true
		}
	}
}

// Rooms lists where the socket still is.
func (ms *Memberships[A]) Rooms() (rooms []A) {
	for _, m := range ms.list {
		if m.to == still {
			rooms = append(rooms, m.room)
		}
	}
	return rooms
}

// Chosen lists the rooms that the client has chosen, each once, left ones among
// them.
func (ms *Memberships[A]) Chosen() (rooms []A) {
	for _, m := range ms.list {
		if m.chosen && !slices.Contains(rooms, m.room) {
			rooms = append(rooms, m.room)
		}
	}
	return rooms
}

// wasMember reports whether the socket was in the room when the event was sent.
func (ms *Memberships[A]) wasMember(room A, offset uint64) bool {
	return slices.ContainsFunc(ms.list, func(m membership[A]) bool {
		return m.room == room && m.from < offset && offset <= m.to
	})
}

// Size is what the memberships take in bytes. length is that of a room's name.
func (ms *Memberships[A]) Size(length func(A) int) int {
	bytes := cap(ms.list) * int(unsafe.Sizeof(membership[A]{}))
	for _, m := range ms.list {
		bytes += length(m.room)
	}
	return bytes
}

// Clone returns a copy that takes no more than it needs.
func (ms *Memberships[A]) Clone() Memberships[A] {
	return Memberships[A]{slices.Clip(slices.Clone(ms.list)), ms.known}
}
