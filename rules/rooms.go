package rules

import (
	"errors"
	"slices"

	"github.com/caddy-realtime/realtime/hub"
)

// Join adds the socket to rooms.
//
//	join <room or list>
type Join struct {
	// CEL expression: a string, a whole number standing for its decimal text,
	// an address, or a list of at most 128 of them.
	Rooms string `json:"rooms"`
}

// Leave removes the socket from rooms.
//
//	leave <room or list>
type Leave Join

func (s *Join) parse(l *reader) (err error) {
	s.Rooms, err = l.expr("a room")
	return err
}

func (s *Leave) parse(l *reader) error { return (*Join)(s).parse(l) }

var errNotAllowed = &hub.Refusal{Code: hub.Forbidden, Message: "Room not allowed", Cause: errors.New("allow_rooms is false")}

func (s *Join) compile(c *compiler) error {
	rooms, fromClient, err := c.targets(s.Rooms)
	if err != nil {
		return err
	}
	c.known.rooms = append(slices.Clip(c.known.rooms), c.facts.targets...)
	allow := c.set.allow
	if !fromClient {
		allow = nil
	}
	c.add(func(r *run) *hub.Refusal {
		to, err := rooms(r)
		if err != nil {
			return asRefusal(err)
		}
		for _, a := range to {
			if allow != nil && a.Kind == hub.Room && !r.allowed(allow, a.Name) {
				return errNotAllowed
			}
		}
		return r.call.Join(to)
	})
	return nil
}

// AllowsRoom asks allow_rooms about a room that a socket is to find again,
// whoever chose it. It implements hub.RoomGuard.
func (s *Set) AllowsRoom(c hub.Call, room string) bool {
	if s.allow == nil {
		return true
	}
	r := s.newRun(nil, c)
	defer r.free()
	return r.allowed(s.allow, room)
}

// allowed asks allow_rooms about a room that a client chose.
func (r *run) allowed(allow condition, room string) bool {
	r.room = room
	ok, err := allow(r)
	r.room = ""
	return ok && err == nil
}

func (s *Leave) compile(c *compiler) error {
	rooms, _, err := c.targets(s.Rooms)
	if err != nil {
		return err
	}
	c.add(func(r *run) *hub.Refusal {
		from, err := rooms(r)
		if err != nil {
			return asRefusal(err)
		}
		return r.call.Leave(from)
	})
	return nil
}
