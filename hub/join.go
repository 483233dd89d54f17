package hub

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddy-realtime/realtime/internal/budget"
)

// Join is the Action of adding the socket to plain rooms. Names are copied if
// they are kept. A room that is not a plain one is refused FORBIDDEN, more rooms
// than the limit are refused LIMIT.
type Join struct {
	Rooms []Address
	// Chosen says that the client chose the rooms and the policy allowed them.
	// If the socket is recovered, a RoomGuard is asked about them again.
	Chosen bool
}

func (a *Join) perform(c *call) *Refusal {
	rooms, s := a.Rooms, c.socket
	if r := checkRooms(rooms); r != nil {
		return r
	}
	if c.kind == connectCall {
		return c.joinLater(a)
	}
	if len(rooms) > 1 { // the event itself was counted as one
		s.session().Spend(c.b, budget.Events, len(rooms)-1)
	}
	return s.ns.join(s, rooms, a.Chosen)
}

// joinLater adds the socket to rooms when it joins the namespace.
func (c *call) joinLater(a *Join) *Refusal {
	s := c.socket
	for _, room := range a.Rooms {
		if !slices.Contains(c.joins, room) {
			c.joins = append(c.joins, room)
		}
	}
	if limit := s.ns.roomsPerSocket(); len(c.joins) > limit {
		return crowdedSocket(limit)
	}
	rooms, chosen := slices.Clone(a.Rooms), a.Chosen
	c.later(func() { s.ns.join(s, rooms, chosen) }) // fits: they were counted
	return nil
}

// Leave is the Action of removing the socket from plain rooms.
type Leave struct{ Rooms []Address }

func (a *Leave) perform(c *call) *Refusal {
	if r := checkRooms(a.Rooms); r != nil {
		return r
	}
	s, rooms := c.socket, slices.Clone(a.Rooms)
	c.later(func() {
		s.ns.leave(s, rooms)
		c.stopTyping(rooms)
	})
	return nil
}

func (n *Namespace) join(s *Socket, rooms []Address, chosen bool) *Refusal {
	limit := n.roomsPerSocket()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range rooms {
		if !s.joined {
			return nil
		}
		if s.inLocked(n.rooms[a.Name]) {
			if !chosen {
				s.noteJoinLocked(a.Name, false) // it is in it by that right from now on
			}
			continue
		}
		if s.plainRoomsLocked() >= limit {
			return crowdedSocket(limit)
		}
		n.joinLocked(s, a.Name, chosen)
	}
	return nil
}

func crowdedSocket(limit int) *Refusal {
	return &Refusal{Code: Limit, Message: fmt.Sprintf("Too many rooms: at most %d", limit)}
}

// joinLocked adds s to a room that it is not in.
func (n *Namespace) joinLocked(s *Socket, room string, chosen bool) {
	r := indexed(n.rooms, room, Room)
	addMember(r, s)
	n.index.hold(memberCost)
	if len(r.members) == 1 {
		n.index.hold(roomCost + len(r.name))
	}
	s.noteJoinLocked(r.name, chosen)
	n.entered(s, r.name)
	n.arrived(s, r.name)
}

func (n *Namespace) leave(s *Socket, rooms []Address) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range rooms {
		r := n.rooms[a.Name]
		if i := s.roomIndexLocked(r); i >= 0 {
			n.departed(s, r.name, time.Time{}, 0)
			s.noteLeaveLocked(r.name)
			n.removeMemberLocked(s, i)
		}
	}
}
