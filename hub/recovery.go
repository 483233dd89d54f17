package hub

import (
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

// Connection state recovery, as Socket.IO has it: a client whose connection
// broke says with its next CONNECT who it was (pid) and which event it heard
// last (offset), and is that socket again, with the events that it missed.
//
// Other than in Node, who comes back is authenticated and passes the policy
// before anything is sent, a pid serves once, and nothing is sent that went to
// a room before the socket was in it.

// RecoveryConfig says what a Hub keeps for sockets that lose their connection.
type RecoveryConfig struct {
	// Window is how long after that they may come back; 0: there is no
	// recovery.
	Window time.Duration
	// Bytes is how much is kept for all of them together: of events that were
	// sent within the window so many, of sockets half of that. Beyond, the
	// namespaces that have more than their share forget their oldest events,
	// and sockets are not kept. Default 64,000,000.
	Bytes int
}

// A RoomGuard is a Policy that has a say when a socket finds its rooms again.
type RoomGuard interface {
	// AllowsRoom is asked for each plain room, before Connect.
	AllowsRoom(c Call, room string) bool
}

// recoverable is what a socket has that may be recovered.
type recoverable struct {
	// Owned by the connect call, then static.
	pid       string           // proves that who comes back is the same client
	claim     *claim           // to an earlier socket, until it is settled; nil: none
	old       *Socket          // whose state it has taken up, until that is settled
	from      uint64           // the last event that the client has
	missed    []*engine.Frames // the ones after it, on their way
	recovered bool

	// Guarded by Namespace.mu; static while the socket is lost.
	since    uint64 // the last event before it joined the namespace
	stays    stays  // in plain rooms
	appeared string // as whom, in presence

	lost lost // guarded by history.mu
}

// claim is what a client says of an earlier socket.
type claim struct{ pid, offset string }

// newRecoverable is nil where there is no recovery. payload came with CONNECT.
func (n *Namespace) newRecoverable(c *client, payload []byte) *recoverable {
	if c.codec != socketIO || !n.history.on() {
		return nil
	}
	var id [16]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	return &recoverable{pid: base64.RawURLEncoding.EncodeToString(id[:]), claim: claimed(payload)}
}

// claimed is what a CONNECT's payload claims; nil if nothing.
func claimed(payload []byte) *claim {
	pid, ok := stringMember(payload, "pid")
	if !ok {
		return nil
	}
	offset, _ := stringMember(payload, "offset")
	return &claim{pid, offset}
}

// stringMember finds a member of an object that is a string as short as what
// the hub makes itself.
func stringMember(object []byte, key string) (value string, ok bool) {
	const most = 32
	if object == nil {
		return "", false
	}
	for it := rawjson.Object(object); it.Next(); {
		if rawjson.EqualString(it.Key(), key) && rawjson.KindOf(it.Value()) == rawjson.KindString && len(it.Value()) <= most {
			value, ok = rawjson.String(it.Value()), true
		}
	}
	return value, ok
}

// parseOffset reads what appendOffset wrote.
func parseOffset(text string) (seq uint64, ok bool) {
	seq, err := strconv.ParseUint(text, 36, 64)
	return seq, err == nil
}

// appendOffset adds the offset to arguments, as the last.
func appendOffset(args []byte, seq uint64) []byte {
	out := make([]byte, 0, len(args)+len(`,"3w5e11264sgsf"`))
	if out = append(out, args...); len(args) > 0 {
		out = append(out, ',')
	}
	out = append(out, '"')
	return append(strconv.AppendUint(out, seq, 36), '"')
}

// recover makes the socket of a connect call the one that its client was, if
// it may be. The client is known by now.
func (c *call) recover() {
	s := c.socket
	r := s.recovery
	if r == nil || r.claim == nil {
		return
	}
	old, result := c.takeUp(r.claim)
	r.claim = nil
	s.ns.hub.counts.recoveries[result].Add(1)
	if old == nil {
		return
	}
	s.id = old.id
	s.mu.Lock()
	s.data = old.Data()
	s.keepLocked(len(s.data))
	s.mu.Unlock()
	was := old.recovery
	r.pid, r.old, r.recovered = was.pid, old, true
	r.since, r.stays, r.appeared = was.since, was.stays, was.appeared
	c.barRooms()
	for _, room := range r.stays.rooms() {
		c.joins = append(c.joins, Address{Name: room})
	}
	s.ns.mu.Lock()
	s.left = append(s.roomNamesLocked(), r.stays.rooms()...)
	s.ns.mu.Unlock()
}

// barRooms takes from a socket that is being recovered the rooms that it may
// not be in any more.
func (c *call) barRooms() {
	n := c.socket.ns
	guard, ok := n.policy().(RoomGuard)
	if !ok {
		return
	}
	stays := &c.socket.recovery.stays
	asked := map[string]bool{}
	for _, st := range stays.list {
		if asked[st.room] {
			continue
		}
		asked[st.room] = true
		if !guard.AllowsRoom(c, st.room) {
			stays.bar(st.room, n.history.last())
		}
	}
}

// takeUp finds the socket that the client was and takes it out of the history.
// One whose connection has not ended yet loses it now: a phone that changes
// networks is back before the server knows that it was gone.
func (c *call) takeUp(cl *claim) (*Socket, recoveryResult) {
	s := c.socket
	h := &s.ns.history
	old := h.find(cl.pid)
	switch {
	case old == nil:
		return nil, recoveryUnknown
	case old.UserID() != s.UserID():
		return nil, recoveryRefused
	case old.isJoined():
		c.batched(func(b *engine.Batch) { old.leave(b, string(engine.TransportClose)) })
		old.session.Close(engine.ForcedClose)
	}
	from, result := h.take(old, cl)
	if result != recovered {
		return nil, result
	}
	s.recovery.from = from
	return old, recovered
}

func (s *Socket) isJoined() bool {
	s.ns.mu.RLock()
	defer s.ns.mu.RUnlock()
	return s.joined
}

// settleRecovery ends the socket that s has taken up, or would have if it had
// been let in: then its policy is told that it is gone.
func (s *Socket) settleRecovery(b *engine.Batch, letIn bool) {
	r := s.recovery
	if r == nil || r.old == nil {
		return
	}
	old := r.old
	r.old = nil
	if letIn {
		s.ns.hub.release(s.ns) // what old's disconnect call would do
		return
	}
	old.bow(b, old.recovery.lost.reason)
}

// resumeLocked gives a socket that has joined what it can be recovered by, and
// its rooms if it was. The caller holds n.mu.
func (n *Namespace) resumeLocked(s *Socket) {
	r := s.recovery
	if !r.recovered {
		r.since = n.history.last()
	}
	n.history.know(s)
	for _, room := range r.stays.rooms() {
		n.joinLocked(s, room)
	}
}

// noteJoinLocked and noteLeaveLocked note from when on and until when the socket
// gets what goes to a room. They are called with Namespace.mu held.
func (s *Socket) noteJoinLocked(room string) {
	if s.recovery != nil {
		s.recovery.stays.begin(room, s.ns.history.last())
	}
}

func (s *Socket) noteLeaveLocked(room string) {
	if s.recovery != nil {
		s.recovery.stays.end(room, s.ns.history.last(), s.ns.history.forgotten())
	}
}

// gatherMissed finds what a recovered socket has missed; false if the last of
// it was forgotten while it connected. The caller holds Namespace.mu, so that
// nothing is sent until it has joined.
func (s *Socket) gatherMissed() (ok bool) {
	r := s.recovery
	if r == nil || !r.recovered {
		return true
	}
	r.missed, ok = s.ns.history.missed(r.from, s)
	return ok
}

// replay sends what a recovered socket has missed.
func (s *Socket) replay(b *engine.Batch) {
	if s.recovery == nil {
		return
	}
	for _, f := range s.recovery.missed {
		s.session.Send(b, f)
	}
	s.recovery.missed = nil
}

// connectData is what CONNECT is answered with.
func (s *Socket) connectData() []byte {
	if s.recovery == nil {
		return object("sid", s.id)
	}
	return object("sid", s.id, "pid", s.recovery.pid)
}

// recoveryResult is what became of an attempt to recover a socket.
type recoveryResult uint8

const (
	recovered       recoveryResult = iota
	recoveryUnknown                // no such socket, or its time is over
	recoveryRefused                // it was another user's
	recoveryGap                    // more was missed than is kept, or than its outbox takes
	recoveryResults
)

var recoveryNames = [recoveryResults]string{"recovered", "unknown", "refused", "gap"}

type recoveryCounts [recoveryResults]atomic.Uint64

func (c *recoveryCounts) stats() map[string]uint64 {
	m := map[string]uint64{}
	for i, name := range recoveryNames {
		m[name] = c[i].Load()
	}
	return m
}

// offset is the packet p with the offset as its last argument.
func offset(p *parser.Packet, seq uint64) *parser.Packet {
	with := *p
	with.Args.JSON = appendOffset(p.Args.JSON, seq)
	return &with
}
