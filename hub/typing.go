package hub

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/parser"
	"github.com/caddy-realtime/realtime/typing"
)

// Events that tell of typing.
const (
	userTyping        = "user-typing"
	userStoppedTyping = "user-stopped-typing"
)

// TypingEvents are the events that Typing sends.
var TypingEvents = []string{userTyping, userStoppedTyping}

// typists is what a namespace knows of the sockets that are typing.
type typists struct {
	entries atomic.Int32 // of the table: leaving looks at it first

	mu    sync.Mutex // a leaf
	table *typing.Table[*Socket, parser.Args]
	timer *time.Timer // nil until the first socket types
}

type typist = typing.Entry[*Socket, parser.Args]

func (ts *typists) init(h holder) { ts.table = typing.New[*Socket, parser.Args](h.hold) }

var errNotInRoom = &Refusal{Code: Forbidden, Message: "Not in this room"}

// Typing is the Action of starting or stopping to type in a plain room. Starting
// sends user-typing with Payload to the others in the room, if the socket was not
// typing there or the last one was sent at least a second ago; stopping sends
// user-stopped-typing, if the socket was typing. The hub sends that as well when
// the socket leaves or has not started again for 5 s. The action is refused
// FORBIDDEN unless the socket is in the room.
type Typing struct {
	Stop    bool
	Room    Address
	Payload parser.Args // of a start
}

func (a *Typing) perform(c *call) (r *Refusal) {
	room := []Address{a.Room}
	if r := checkRooms(room); r != nil {
		return r
	}
	s := c.socket
	if a.Stop {
		if !s.InRoom(a.Room) {
			return errNotInRoom
		}
		c.stopTyping(room)
		return nil
	}
	c.batched(func(b *engine.Batch) { r = s.ns.startTyping(b, s, a.Room.Name, a.Payload) })
	return r
}

// stopTyping ends the socket's typing in rooms.
func (c *call) stopTyping(rooms []Address) {
	if c.socket.ns.typists.entries.Load() == 0 {
		return
	}
	c.batched(func(b *engine.Batch) {
		for _, a := range rooms {
			c.socket.ns.stopTyping(b, c.socket, a.Name)
		}
	})
}

// startTyping announces to the others in the room that s is typing, unless they
// have heard it just now. It checks that s is in the room under the lock under
// which s would leave, so that leaving finds the entry.
func (n *Namespace) startTyping(b *engine.Batch, s *Socket, room string, payload parser.Args) *Refusal {
	n.mu.RLock()
	if !s.joined || !s.inLocked(n.rooms[room]) {
		n.mu.RUnlock()
		return errNotInRoom
	}
	t := n.changeTyping(func(table *typing.Table[*Socket, parser.Args]) *typist {
		return table.Start(s, room, payload.Clone(), time.Now())
	})
	n.mu.RUnlock()
	n.announceTyping(b, t)
	return nil
}

// stopTyping announces to the others in the room that s is not typing any more,
// if they have heard that it was.
func (n *Namespace) stopTyping(b *engine.Batch, s *Socket, room string) {
	n.announceTyping(b, n.changeTyping(func(table *typing.Table[*Socket, parser.Args]) *typist {
		return table.Stop(s, room)
	}))
}

// changeTyping calls f with the table, and sets the timer if there is none.
func (n *Namespace) changeTyping(f func(*typing.Table[*Socket, parser.Args]) *typist) *typist {
	ts := &n.typists
	ts.mu.Lock()
	defer ts.mu.Unlock()
	_, was := ts.table.NextExpiry()
	t := f(ts.table)
	ts.entries.Store(int32(ts.table.Len()))
	if at, is := ts.table.NextExpiry(); is && !was {
		n.expireTypingAtLocked(at)
	}
	return t
}

// announceTyping sends what the room of t must hear. t may be nil.
func (n *Namespace) announceTyping(b *engine.Batch, t *typist) {
	if t == nil {
		return
	}
	e := Emission{Scope: ToRooms, To: []Address{{Name: t.Room()}}, NotSelf: true, transient: true}
	for n.typists.next(t, &e) {
		n.send(b, t.Socket(), &e)
	}
}

// next makes e the next announcement of t; false if there is none.
func (ts *typists) next(t *typist, e *Emission) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	typing, payload, ok := ts.table.Next(t, time.Now())
	switch {
	case !ok:
		ts.entries.Store(int32(ts.table.Len()))
	case typing:
		e.Event, e.Args = userTyping, payload
	default:
		e.Event, e.Args = userStoppedTyping, parser.Args{JSON: object("userId", Sender(t.Socket()))}
	}
	return ok
}

func (n *Namespace) expireTypingAtLocked(at time.Time) {
	ts := &n.typists
	if ts.timer == nil {
		ts.timer = time.AfterFunc(time.Until(at), func() { n.hub.insist("typing", n.expireTyping) })
	} else {
		ts.timer.Reset(time.Until(at))
	}
}

func (n *Namespace) expireTyping() {
	b := engine.NewBatch()
	defer b.Flush()
	for _, t := range n.expiredTypists() {
		n.announceTyping(b, t)
	}
}

func (n *Namespace) expiredTypists() []*typist {
	ts := &n.typists
	ts.mu.Lock()
	defer ts.mu.Unlock()
	expired := ts.table.Expire(time.Now())
	if at, ok := ts.table.NextExpiry(); ok {
		n.expireTypingAtLocked(at)
	}
	return expired
}

// stopAllTyping ends the typing of a socket that has left, behind the calls
// that may have begun it.
func (s *Socket) stopAllTyping(b *engine.Batch) {
	if s.ns.typists.entries.Load() == 0 {
		return
	}
	for _, room := range s.Rooms() {
		s.ns.stopTyping(b, s, room)
	}
}
