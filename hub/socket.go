package hub

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

// Socket is one client in one namespace.
type Socket struct {
	// Static after construction.
	id       string
	ns       *Namespace
	recovery *recoverable // nil: it cannot be recovered

	via atomic.Pointer[client] // whose connection it has: the hub's detached one when it is lost

	// Set before the policy hears of the socket, then changed by auth-refresh
	// alone, with mu held. Its ID stays the same.
	identity atomic.Pointer[auth.Identity] // nil if anonymous

	// Guarded by ns.mu.
	rooms  []membership // the namespace's room of all and the user's among them
	left   []string     // the names of its rooms when it left, or that it will find again; nil while it is there
	joined bool         // last: it shares its word with what follows

	// Guarded by mu.
	state     socketState
	running   bool // a call holds the queue
	mu        sync.Mutex
	auth      []byte  // what came with CONNECT, without secrets; nil if nothing
	kept      int32   // bytes of auth and data that count as memory
	waiting   []*call // the events after it
	bytes     int     // size of the waiting events
	data      []byte  // JSON object socket.data; nil: {}. Replaced, never changed
	asks      map[int64]*ask
	asked     int        // size of the events whose rules wait for an answer
	authState *authState // nil: no login, expiry or refresh
	buckets   []bucket   // of what is limited in rate
}

// socketState says which events of a socket run. It only goes up.
type socketState uint8

const (
	stateOpen   socketState = iota // all; the socket may still be connecting
	stateLeft                      // those that came before
	stateKicked                    // none: the server disconnected or rejected the socket
)

func (s *Socket) client() *client          { return s.via.Load() }
func (s *Socket) session() *engine.Session { return s.via.Load().session }

// ID is the socket's public id.
func (s *Socket) ID() string { return s.id }

// Namespace is the name of the socket's namespace, with its slash.
func (s *Socket) Namespace() string { return s.ns.name }

// UserID is the user's id, "" if anonymous.
func (s *Socket) UserID() string {
	if id := s.identity.Load(); id != nil {
		return id.ID
	}
	return ""
}

// Recovered reports whether the socket took up an earlier one's state.
func (s *Socket) Recovered() bool { return s.recovery != nil && s.recovery.recovered }

// Data is socket.data as a JSON object. It must not be changed.
func (s *Socket) Data() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data == nil {
		return emptyObject
	}
	return s.data
}

var emptyObject = []byte("{}")

// Handshake is what the client said of itself when it connected, as a JSON
// object with the keys that Socket.IO's handshake has. That of a lost socket
// has its address and nothing else.
func (s *Socket) Handshake() []byte {
	s.mu.Lock()
	c, body := s.client(), s.auth
	s.mu.Unlock()
	if c == s.ns.hub.detached {
		return s.lostHandshake()
	}
	head := c.session.Handshake().JSON
	if body == nil {
		body = emptyObject
	}
	out := make([]byte, 0, len(head)+len(body)+len(`,"auth":}`))
	out = append(out, head[:len(head)-1]...)
	out = append(out, `,"auth":`...)
	out = append(out, body...)
	return append(out, '}')
}

// Rooms lists the names of the socket's rooms, its own first; when it has
// left, those that it was in.
func (s *Socket) Rooms() []string {
	s.ns.mu.RLock()
	defer s.ns.mu.RUnlock()
	if s.left != nil {
		return s.left
	}
	return s.roomNamesLocked()
}

func (s *Socket) roomNamesLocked() []string {
	names := append(make([]string, 0, len(s.rooms)+2), s.id)
	if id := s.UserID(); id != "" {
		names = append(names, userPrefix+id)
	}
	for _, m := range s.rooms {
		if m.room.kind == Room {
			names = append(names, m.room.name)
		}
	}
	return names
}

// InRoom reports whether the socket is in the room or, when it has left, was.
func (s *Socket) InRoom(a Address) bool {
	switch {
	case a.Kind == SocketRoom:
		return a.Name == s.id
	case a.Kind == UserRoom:
		return a.Name != "" && a.Name == s.UserID()
	case reserved(a.Name): // what is no room for join and to is none here
		return false
	}
	s.ns.mu.RLock()
	defer s.ns.mu.RUnlock()
	if s.left != nil {
		return slices.Contains(s.left, a.Name)
	}
	return s.inLocked(s.ns.rooms[a.Name])
}

func (s *Socket) inLocked(r *room) bool { return s.roomIndexLocked(r) >= 0 }

func (s *Socket) roomIndexLocked(r *room) int {
	if r == nil {
		return -1
	}
	return slices.IndexFunc(s.rooms, func(m membership) bool { return m.room == r })
}

func (s *Socket) plainRoomsLocked() int {
	n := 0
	for _, m := range s.rooms {
		if m.room.kind == Room {
			n++
		}
	}
	return n
}

// Set is the Action of storing a value as socket.data[Key].
type Set struct {
	Key   string
	Value []byte // one JSON value without binary; it must not change any more
}

func (a *Set) perform(c *call) *Refusal {
	return c.socket.setData(a.Key, a.Value, c.socket.ns.hub.config.Load().DataBytes)
}

// setData stores value under key.
func (s *Socket) setData(key string, value []byte, limit int) *Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.data
	if old == nil {
		old = emptyObject
	}
	next := rawjson.AppendQuote(append(make([]byte, 0, len(old)+len(key)+len(value)+4), '{'), key)
	next = append(append(next, ':'), value...)
	for it := rawjson.Object(old); it.Next(); {
		if !rawjson.EqualString(it.Key(), key) {
			next = append(append(append(append(next, ','), it.Key()...), ':'), it.Value()...)
		}
	}
	next = append(next, '}')
	if len(next) > limit {
		return &Refusal{Code: TooLarge, Message: "Too much data"}
	}
	s.keepLocked(len(next) - len(s.data))
	s.data = next
	return nil
}

// keepLocked counts what the socket keeps, until it is gone.
func (s *Socket) keepLocked(bytes int) {
	if bytes != 0 && s.state == stateOpen {
		s.kept += int32(bytes)
		s.ns.hub.engine.Hold(budget.Sockets, bytes)
	}
}

// setStateLocked changes the state of a socket that is to go.
func (s *Socket) setStateLocked(to socketState) {
	s.keepLocked(-int(s.kept))
	s.state = max(s.state, to)
}

// send queues a packet for this socket alone, if it is still there.
func (s *Socket) send(b *engine.Batch, p parser.Packet) {
	p.Namespace = s.ns.wire
	o := newOutgoing(p)
	defer o.free()
	s.ns.mu.RLock()
	defer s.ns.mu.RUnlock()
	if h := &s.ns.history; p.Type == parser.Event && p.ID == parser.NoID && h.on() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.stampLocked(o, h.log.Last()) // else a client could take another string for one
	}
	if s.joined {
		o.deliver(b, s.session(), s.client().codec)
	}
}

// refuse answers a refused event: through its acknowledgement, if the client
// asked for one, else as an error event, one a second at most.
func (s *Socket) refuse(b *engine.Batch, event string, ackID int64, r *Refusal) {
	s.refused(event, r)
	if ackID == parser.NoID && !s.mayReport() {
		return
	}
	code := string(r.Code)
	switch {
	case s.client().codec == plainJSON:
		s.send(b, parser.Packet{Type: parser.PlainError, ID: ackID, Data: object("code", code, "message", r.Message)})
	case ackID == parser.NoID:
		body := object("code", code, "message", r.Message, "event", event)
		s.send(b, parser.Packet{Type: parser.Event, ID: parser.NoID, Name: []byte("error"), Args: parser.Args{JSON: body}})
	default:
		s.send(b, parser.Packet{Type: parser.Ack, ID: ackID, Args: parser.Args{JSON: object("error", r.Message, "code", code)}})
	}
}

func (s *Socket) mayReport() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bucketLocked(errorBucket).take(time.Now(), time.Second, 1)
}

// Disconnect is the Action of removing the socket from the namespace. It takes
// effect at once, but the call goes on.
type Disconnect struct {
	CloseAll bool // the whole connection is closed
}

func (a *Disconnect) perform(c *call) *Refusal {
	s, all := c.socket, a.CloseAll
	c.later(func() {
		c.batched(func(b *engine.Batch) {
			if all {
				s.client().disconnectAll(b)
			} else {
				s.kick(b)
			}
		})
	})
	return nil
}

// kick disconnects the socket: the client is told and does not come back by
// itself.
func (s *Socket) kick(b *engine.Batch) {
	s.send(b, parser.Packet{Type: parser.Disconnect, ID: parser.NoID})
	s.setState(stateKicked)
	s.leave(b, "server namespace disconnect")
}

// setState changes the state of a socket that is to go: a login in progress is
// cancelled, and a socket that has not joined will not join.
func (s *Socket) setState(to socketState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setStateLocked(to)
	if s.authState != nil {
		s.authState.end()
	}
}

// leave takes the socket out of its namespace. Its policy is told when the
// events that it sent before have run. Only the first call does anything.
func (s *Socket) leave(b *engine.Batch, reason string) {
	s.setState(stateLeft)
	became, evicted := s.ns.remove(s, reason)
	if became == notThere {
		return
	}
	evict(evicted)
	s.mu.Lock()
	asks := s.asks
	s.ns.hub.engine.Hold(budget.Waiting, -s.asked-len(asks)*eventCost)
	s.asks, s.asked = nil, 0
	s.mu.Unlock()

	s.ns.hub.log().Debug("socket left", "socket_id", s.id, "namespace", s.ns.name, "reason", reason)
	for _, a := range asks {
		if a.timer != nil {
			a.timer.Stop()
		}
		a.finish(b, parser.Args{}, &Refusal{Code: Timeout, Message: "Disconnected"})
	}
	if became == kept {
		s.stopAllTyping(b)
		s.detach()
		return
	}
	s.notifyDisconnect(b, reason)
}

// notifyDisconnect tells the policy that a socket has gone for good.
func (s *Socket) notifyDisconnect(b *engine.Batch, reason string) {
	s.ns.deduper.forget(s)
	c := newCall(s, disconnectCall)
	c.event.Reason = reason
	s.enqueue(b, c)
}
