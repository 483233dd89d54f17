package hub

import (
	"container/list"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/parser"
)

const (
	typingTime  = 5 * time.Second // how long a socket types after it said so
	typingAgain = time.Second     // how often, at most, the room is told that it still types
)

// Events that tell of typing.
const (
	userTyping        = "user-typing"
	userStoppedTyping = "user-stopped-typing"
)

// TypingEvents are the events that Call.Typing sends.
var TypingEvents = []string{userTyping, userStoppedTyping}

// typists are the sockets of a namespace that type, for each room apart. All
// type equally long: they expire in the order in which they said so, and one
// timer is enough.
type typists struct {
	holder              // static
	count  atomic.Int32 // of by: whoever leaves looks at it first

	mu    sync.Mutex
	by    map[typingAt]*typist
	order list.List // of *typist that type, who expires first in front
	timer *time.Timer
}

type typingAt struct {
	socket *Socket
	room   string
}

// typist is one socket that types in one room, or whose end is not told yet.
// Its fields are guarded by typists.mu. One goroutine at a time tells the room,
// whoever changes types meanwhile leaves it to that one: so what the room hears
// last is true.
type typist struct {
	typingAt
	until   time.Time
	place   *list.Element // in typists.order; nil: it does not type
	told    bool          // the room knows that it types
	toldAt  time.Time     // when it was told so last
	again   bool          // it is to be told once more
	telling bool
	about   parser.Args // of user-typing
}

func (t *typist) types() bool { return t.place != nil }

var errNotInRoom = &Refusal{Code: Forbidden, Message: "Not in this room"}

// Typing starts or stops to type in a room.
func (c *call) Typing(start bool, room Address, a parser.Args) (r *Refusal) {
	if r := checkRooms([]Address{room}); r != nil {
		return r
	}
	s := c.socket
	if !start {
		if !s.InRoom(room) {
			return errNotInRoom
		}
		c.stopTyping([]Address{room})
		return nil
	}
	c.batched(func(b *engine.Batch) { r = s.ns.startTyping(b, s, room.Name, a) })
	return r
}

// stopTyping ends the socket's typing in rooms.
func (c *call) stopTyping(rooms []Address) {
	if c.socket.ns.typists.count.Load() == 0 {
		return
	}
	c.batched(func(b *engine.Batch) {
		for _, a := range rooms {
			c.socket.ns.stopTyping(b, c.socket, a.Name)
		}
	})
}

// startTyping tells the others in the room that s types, unless they were told
// just now.
func (n *Namespace) startTyping(b *engine.Batch, s *Socket, room string, about parser.Args) *Refusal {
	t, r := n.beginTyping(s, room, about)
	if t != nil {
		n.tellTyping(b, t)
	}
	return r
}

// beginTyping notes that s types from now on; t is nil unless the caller has to
// tell it. That s is in the room is looked at under the same lock as it would
// leave under: who leaves finds the note.
func (n *Namespace) beginTyping(s *Socket, room string, about parser.Args) (t *typist, r *Refusal) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if !s.joined || !s.inLocked(n.rooms[room]) {
		return nil, errNotInRoom
	}
	ts := &n.typists
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t = ts.by[typingAt{s, room}]
	if t == nil {
		t = ts.addLocked(s, strings.Clone(room)) // it may alias a message
	}
	now := time.Now()
	t.until = now.Add(typingTime)
	if t.types() {
		ts.order.MoveToBack(t.place)
		if t.again = t.again || now.Sub(t.toldAt) >= typingAgain; !t.again {
			return nil, nil
		}
	} else {
		t.place = ts.order.PushBack(t)
		if ts.order.Len() == 1 {
			n.expireTypingIn(typingTime)
		}
	}
	t.about = about.Clone() // another goroutine may tell it
	return t.tellerLocked(), nil
}

func (ts *typists) addLocked(s *Socket, room string) *typist {
	t := &typist{typingAt: typingAt{s, room}}
	if ts.by == nil {
		ts.by = map[typingAt]*typist{}
	}
	ts.by[t.typingAt] = t
	ts.count.Add(1)
	ts.hold(typistCost + len(room))
	return t
}

// endLocked notes that t, which types, does not any more; it returns nil unless
// the caller has to tell it.
func (ts *typists) endLocked(t *typist) *typist {
	ts.order.Remove(t.place)
	t.place, t.again = nil, false
	return t.tellerLocked()
}

// tellerLocked makes the caller the one who tells, unless there is one.
func (t *typist) tellerLocked() *typist {
	if t.telling {
		return nil
	}
	t.telling = true
	return t
}

// tellTyping tells the room until it knows what is.
func (n *Namespace) tellTyping(b *engine.Batch, t *typist) {
	e := Emission{Scope: ToRooms, To: []Address{{Name: t.room}}, NotSelf: true, transient: true}
	for n.typists.news(t, &e) {
		n.send(b, t.socket, &e)
	}
}

// news fills in what the room is to be told; false, and nobody tells any more,
// if it knows.
func (ts *typists) news(t *typist, e *Emission) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t.told == t.types() && !t.again {
		t.telling = false
		if !t.told {
			delete(ts.by, t.typingAt)
			ts.count.Add(-1)
			ts.hold(-typistCost - len(t.room))
		}
		t.about = parser.Args{}
		return false
	}
	t.told, t.again = t.types(), false
	if t.told {
		t.toldAt = time.Now()
		e.Event, e.Args = userTyping, t.about
	} else {
		e.Event, e.Args = userStoppedTyping, parser.Args{JSON: object("userId", t.socket.sender())}
	}
	return true
}

// stopTyping tells the others in the room that s does not type any more, if
// they think so.
func (n *Namespace) stopTyping(b *engine.Batch, s *Socket, room string) {
	if t := n.typists.end(typingAt{s, room}); t != nil {
		n.tellTyping(b, t)
	}
}

func (ts *typists) end(at typingAt) *typist {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t := ts.by[at]; t != nil && t.types() {
		return ts.endLocked(t)
	}
	return nil
}

// expireTypingIn sets the timer. The caller holds typists.mu.
func (n *Namespace) expireTypingIn(wait time.Duration) {
	ts := &n.typists
	if ts.timer == nil {
		ts.timer = time.AfterFunc(wait, func() { n.hub.insist("typing", n.expireTyping) })
	} else {
		ts.timer.Reset(wait)
	}
}

func (n *Namespace) expireTyping() {
	ended := n.expiredTypists()
	b := engine.NewBatch()
	defer b.Flush()
	for _, t := range ended {
		n.tellTyping(b, t)
	}
}

// expiredTypists ends whose time is over, and sets the timer for the next.
func (n *Namespace) expiredTypists() (ended []*typist) {
	ts := &n.typists
	ts.mu.Lock()
	defer ts.mu.Unlock()
	now := time.Now()
	for e := ts.order.Front(); e != nil; e = ts.order.Front() {
		t := e.Value.(*typist)
		if t.until.After(now) {
			n.expireTypingIn(t.until.Sub(now))
			break
		}
		if t := ts.endLocked(t); t != nil {
			ended = append(ended, t)
		}
	}
	return ended
}

// sender is what a socket's messages are signed with: the user's id, or its
// own if it is anonymous.
func (s *Socket) sender() string {
	if id := s.UserID(); id != "" {
		return id
	}
	return s.id
}

// stopAllTyping ends the typing of a socket that has left, behind the calls
// that may have begun it.
func (s *Socket) stopAllTyping(b *engine.Batch) {
	if s.ns.typists.count.Load() == 0 {
		return
	}
	for _, room := range s.Rooms() {
		s.ns.stopTyping(b, s, room)
	}
}
