package dryrun

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/rules"
)

// World is the sockets that are connected, between events. Time stands still in
// it. It is used by one goroutine.
type World struct {
	sockets []*Socket
	made    int              // sockets so far
	taken   map[string]int   // tokens of buckets
	first   map[string]first // what dedupe repeats
}

type first struct {
	answer  json.RawMessage
	refusal *hub.Refusal
}

// Delivery is an event that a socket gets.
type Delivery struct {
	To    *Socket
	Event string
	Args  json.RawMessage // a JSON array
}

// Connect runs `on connect` for a new socket, which is in the world then unless
// it is refused. Errors are of what s says.
func (w *World) Connect(s *Socket, compile func(rules.Options) (*rules.Set, error)) (*Result, error) {
	if err := s.complete(); err != nil {
		return nil, err
	}
	if w.made++; s.id == socketID {
		s.id = fmt.Sprintf("s_dryrun%012d", w.made)
	}
	w.sockets = append(w.sockets, s)
	r, err := w.run(Event{Name: "connect"}, s, compile)
	if err != nil || r.Refusal != nil {
		w.remove(s)
	}
	if err == nil && r.Refusal != nil {
		r.Deliveries = nil
	}
	return r, err
}

// Event runs an event of a socket in the world, or its disconnect, and that
// which the rule's own step brings about.
func (w *World) Event(e Event, s *Socket, compile func(rules.Options) (*rules.Set, error)) (*Result, error) {
	if e.Name == "disconnect" {
		w.remove(s)
	}
	r, err := w.run(e, s, compile)
	if err != nil || !r.kicked {
		return r, err
	}
	end, err := w.Event(Event{Name: "disconnect", Reason: "server namespace disconnect"}, s, compile)
	if err == nil {
		r.Steps = append(r.Steps, end.Steps...)
		r.Deliveries = append(r.Deliveries, end.Deliveries...)
	}
	return r, err
}

// Connected reports whether s is in the world.
func (w *World) Connected(s *Socket) bool { return slices.Contains(w.sockets, s) }

func (w *World) remove(s *Socket) {
	w.sockets = slices.DeleteFunc(w.sockets, func(other *Socket) bool { return other == s })
}

// in are the sockets of a namespace.
func (w *World) in(namespace string) (list []*Socket) {
	for _, s := range w.sockets {
		if s.Namespace == namespace {
			list = append(list, s)
		}
	}
	return list
}

// directory is who is in a namespace of the world.
type directory struct {
	world     *World
	namespace string
}

func (d directory) MemberCount(a hub.Address) int {
	n := 0
	for _, s := range d.world.in(d.namespace) {
		if (view{s}).InRoom(a) {
			n++
		}
	}
	return n
}

func (d directory) Members(a hub.Address) []string {
	return users(d.world.in(d.namespace), func(s *Socket) bool { return view{s}.InRoom(a) })
}

func (d directory) Online() []string {
	return users(d.world.in(d.namespace), func(*Socket) bool { return true })
}

func (d directory) IsOnline(user string) bool { return slices.Contains(d.Online(), user) }

// LastSeen is now for a user who is there.
func (d directory) LastSeen(user string) int64 {
	if d.IsOnline(user) {
		return time.Now().UnixMilli()
	}
	return 0
}

// users are those of the sockets that are in a room, each once and sorted.
func users(sockets []*Socket, in func(*Socket) bool) []string {
	var ids []string
	for _, s := range sockets {
		if s.UserID != "" && in(s) {
			ids = append(ids, s.UserID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// receivers are the sockets that get an emission of from.
func (w *World) receivers(from *Socket, e hub.Emission) (list []*Socket) {
	if e.Scope == hub.ToSelf {
		return []*Socket{from}
	}
	namespace := from.Namespace
	if e.Namespace != "" {
		namespace = e.Namespace
	}
	for _, s := range w.in(namespace) {
		in := view{s}.InRoom
		if (e.Scope == hub.ToAll || slices.ContainsFunc(e.To, in)) && !slices.ContainsFunc(e.Except, in) && !(e.NotSelf && s == from) {
			list = append(list, s)
		}
	}
	return list
}
