package hub

import (
	"math"
	"slices"
)

// stay is a time that a socket was in a plain room, told in offsets: it got what
// went there after from, up to to. Those that are over count as well, for a
// socket that left a room and lost its connection may have missed what went
// there before, and must not hear what spared the room.
type stay struct {
	room     string
	from, to uint64
	barred   bool // allow_rooms has become false: nothing of it is repeated
}

const (
	stillThere uint64 = math.MaxUint64
	maxStays          = 128 // that are over
)

// stays are those of a socket, in the order in which they began. Namespace.mu
// guards them; they do not change while the socket is lost.
type stays struct {
	list []stay
	// What the socket missed is known from this event on.
	known uint64
}

// rooms are those where the socket still is.
func (ss *stays) rooms() (names []string) {
	for _, st := range ss.list {
		if st.to == stillThere {
			names = append(names, st.room)
		}
	}
	return names
}

// begin notes that the socket has joined a room.
func (ss *stays) begin(room string, now uint64) {
	if !slices.ContainsFunc(ss.list, func(st stay) bool { return st.room == room && st.to == stillThere }) {
		ss.list = append(ss.list, stay{room: room, from: now, to: stillThere})
	}
}

// end notes that the socket has left a room. What was sent up to floor is
// forgotten.
func (ss *stays) end(room string, now, floor uint64) {
	over := 0
	for i := range ss.list {
		st := &ss.list[i]
		if st.room == room && st.to == stillThere {
			st.to = now
		}
		if st.to != stillThere {
			over++
		}
	}
	ss.list = slices.DeleteFunc(ss.list, func(st stay) bool {
		old := st.to != stillThere && (over > maxStays || st.to <= floor || st.from == st.to)
		if old {
			over--
			if st.to > floor && st.from != st.to {
				ss.known = max(ss.known, st.to)
			}
		}
		return old
	})
}

// bar ends the stays in a room that the socket may not be in any more.
func (ss *stays) bar(room string, now uint64) {
	for i := range ss.list {
		if st := &ss.list[i]; st.room == room {
			st.to, st.barred = min(st.to, now), true
		}
	}
}

// had reports whether the socket was in the room when the event went out.
func (ss *stays) had(room string, seq uint64) bool {
	return slices.ContainsFunc(ss.list, func(st stay) bool { return st.room == room && st.from < seq && seq <= st.to })
}

func (ss *stays) size() (bytes int) {
	for _, st := range ss.list {
		bytes += memberCost + len(st.room)
	}
	return bytes
}
