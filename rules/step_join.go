package rules

import (
	"errors"
	"regexp"
	"slices"

	"cel.dev/cel-go/cel"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

func init() { register("join", func() Action { return new(Join) }) }

// Join adds the socket to rooms.
//
//	join <room or list> [refused <name>]
type Join struct {
	// CEL expression: a string, a whole number standing for its decimal text,
	// an address, or a list of at most 128 of them.
	Rooms string `json:"rooms"`
	// A name for the list of rooms that the socket may not be in: allow_rooms
	// refuses them, or they have the name of an address or none that a room
	// may have. The socket joins the others. Default: one such room refuses
	// the event, and the socket joins none.
	Refused string `json:"refused,omitempty"`
}

func (s *Join) parse(l *reader) (err error) {
	if s.Rooms, err = l.expr("the room"); err != nil {
		return err
	}
	if l.keyword("refused") {
		s.Refused, err = l.word("the name for the refused rooms")
	}
	return err
}

func (s *Join) compile(c *compiler) error {
	rooms, fromClient, err := c.targets(s.Rooms)
	if err == nil {
		err = c.checkRooms()
	}
	if err != nil {
		return err
	}
	c.set.joinsUsers = c.set.joinsUsers || namesUser.MatchString(s.Rooms)
	j := &joining{rooms: rooms, chosen: fromClient}
	if fromClient {
		j.allow = c.set.allow
	}
	if s.Refused == "" {
		c.known.rooms = append(slices.Clip(c.known.rooms), c.facts.targets...)
		c.add(j.all)
		return nil
	}
	j.refused = &variable{name: s.Refused, title: s.Refused, list: true, fromClient: fromClient, clientsChoice: len(c.facts.targets) > 0}
	j.trace = c.set.trace
	if err := c.declare(j.refused, cel.ListType(cel.StringType)); err != nil {
		return err
	}
	c.add(j.some)
	return nil
}

// namesUser is an expression that makes a room of the user's id.
var namesUser = regexp.MustCompile(`\b(user|sender)\b`)

// joining is a compiled Join.
type joining struct {
	rooms   targets
	chosen  bool      // by the client
	allow   condition // nil if every room is allowed
	refused *variable // nil if one refused room refuses all
	trace   Tracer
}

var errNotAllowed = &hub.Refusal{Code: hub.Forbidden, Message: "Room not allowed", Cause: errors.New("allow_rooms is false")}

// all joins all rooms or none.
func (j *joining) all(r *run) *hub.Refusal {
	to, err := j.rooms(r)
	if err != nil {
		return asRefusal(err)
	}
	for _, a := range to {
		if j.allow != nil && a.Kind == hub.Room && !r.allowed(j.allow, a.Name) {
			return errNotAllowed
		}
	}
	return j.join(r, to)
}

// some joins the rooms that the socket may be in, and keeps the names of the
// others.
func (j *joining) some(r *run) *hub.Refusal {
	to, err := j.rooms(r)
	if err != nil {
		return asRefusal(err)
	}
	if len(to) > hub.MaxRooms {
		return hub.TooManyRooms(len(to))
	}
	var allowed []hub.Address
	var refused []byte
	for _, a := range to {
		if hub.CheckRooms([]hub.Address{a}) == nil && (j.allow == nil || r.allowed(j.allow, a.Name)) {
			allowed = append(allowed, a)
			continue
		}
		if len(refused) > 0 {
			refused = append(refused, ',')
		}
		refused = rawjson.AppendQuote(refused, a.WireName())
	}
	r.keep(j.refused.slot, parser.Args{JSON: refused})
	if j.trace != nil {
		j.trace.Let(j.refused.name, slices.Concat([]byte{'['}, refused, []byte{']'}))
	}
	return j.join(r, allowed)
}

func (j *joining) join(r *run, rooms []hub.Address) *hub.Refusal {
	return r.call.Do(&hub.Join{Rooms: rooms, Chosen: j.chosen})
}

// AllowsRoom asks allow_rooms about a room that a client chose and its socket is
// to find again. It implements hub.RoomGuard.
func (s *Set) AllowsRoom(c hub.Call, room string) bool {
	if s.allow == nil {
		return true
	}
	r := s.newRun(nil, c)
	defer r.free()
	defer r.tell()
	return r.allowed(s.allow, room)
}

// allowed asks allow_rooms about a room that a client chose.
func (r *run) allowed(allow condition, room string) bool {
	r.room = room
	ok, err := allow(r)
	r.room = ""
	return ok && err == nil
}
