package hub

import (
	"cmp"
	"container/list"
	"crypto/rand"
	"encoding/base64"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
	"github.com/caddy-realtime/realtime/recovery"
)

// Connection state recovery, as Socket.IO has it: a client whose connection
// broke says with its next CONNECT who it was (pid) and which event it heard
// last (offset), and is that socket again, with the events that it missed.
//
// Other than in Node, who comes back is authenticated and passes the policy
// before anything is sent, a pid serves once, and nothing is sent that went to
// a room before the socket was in it.

// DefaultRecoveryBytes is the default of RecoveryConfig.Bytes.
const DefaultRecoveryBytes = 64_000_000

// RecoveryConfig says what a Hub keeps for sockets that lose their connection.
type RecoveryConfig struct {
	// Window is how long after that they may come back; 0: there is no
	// recovery.
	Window time.Duration
	// Bytes is how much all hubs that share a Budget may keep together: that
	// much of events that were sent within the window, half of that of sockets,
	// and a sixteenth of the latter for one user or address. Beyond, the rooms
	// that have most forget their oldest events, and the users and addresses
	// that have most their oldest sockets. Default: DefaultRecoveryBytes.
	Bytes int
	// Budget counts what hubs keep. It is taken by New only. Default: one of the
	// Hub's own.
	Budget *recovery.Budget
}

// A RoomGuard is a Policy that has a say when a socket finds its rooms again.
type RoomGuard interface {
	// AllowsRoom is asked for each room of a Join that was Chosen, before Connect.
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
	life     int    // of the history, when it joined
	rooms    recovery.Memberships[Address]
	appeared string // as whom, in presence

	lost lost
}

// lost is what a history keeps of a socket that lost its connection: no session,
// no decoder, no handshake, no credentials.
type lost struct {
	// Static once the socket is lost.
	at       time.Time
	reason   string
	has      uint64          // the last event that its client surely has
	account  *budget.Account // that its policy's last emissions are charged to; nil: none
	address  netip.Addr      // of the client; invalid: it is exempt
	remoteIP string

	// Guarded by history.mu.
	place *list.Element  // nil: it is not lost, or not any more
	seat  *recovery.Seat // the same
	size  int            // bytes
}

// lossOwner is whose lost sockets have a share together.
type lossOwner struct {
	hub     *Hub // whose user it is
	user    string
	address netip.Addr // invalid: of a user, or exempt
}

// lossOwner says whose a lost socket is. All that are exempt are one owner's,
// without a limit.
func (s *Socket) lossOwner() (key lossOwner, capped bool) {
	if id := s.UserID(); id != "" {
		return lossOwner{hub: s.ns.hub, user: id}, true
	}
	a := s.recovery.lost.address
	return lossOwner{address: a}, a.IsValid()
}

// lossCost is what a lost socket takes in addition to what lostSize adds: in a
// list, two maps and the budget.
const lossCost = 480

// lostSize is what a lost socket takes, in bytes. Namespace.mu is held, or the
// socket is lost already.
func (s *Socket) lostSize() int {
	r := s.recovery
	size := lossCost + int(unsafe.Sizeof(Socket{})+unsafe.Sizeof(recoverable{}))
	size += r.rooms.Size(func(a Address) int { return len(a.Name) })
	size += len(r.pid) + len(r.lost.remoteIP) + len(s.id) + len(r.appeared)
	for _, name := range s.left {
		size += int(unsafe.Sizeof(name))
	}
	if id := s.identity.Load(); id != nil {
		size += int(unsafe.Sizeof(*id)) + len(id.Claims) + 3*len(id.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return size + cap(s.data) + cap(s.buckets)*int(unsafe.Sizeof(bucket{}))
}

// detach has a lost socket let go of its connection and all that came with it.
func (s *Socket) detach() {
	s.mu.Lock()
	s.auth, s.authState = nil, nil
	s.mu.Unlock()
	s.via.Store(s.ns.hub.detached)
}

// lostHandshake is the handshake of a lost socket: who knows more has put it
// into socket.data.
func (s *Socket) lostHandshake() []byte {
	h := append([]byte(nil), `{"headers":{},"time":"","address":`...)
	h = rawjson.AppendQuote(h, s.recovery.lost.remoteIP)
	return append(h, `,"xdomain":false,"secure":false,"issued":0,"url":"","query":{},"auth":{}}`...)
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
	var c claim
	for it := rawjson.Object(payload); payload != nil && it.Next(); {
		switch {
		case rawjson.EqualString(it.Key(), "pid"):
			c.pid = shortString(it.Value())
		case rawjson.EqualString(it.Key(), "offset"):
			c.offset = cmp.Or(shortString(it.Value()), notAnOffset)
		}
	}
	if c.pid == "" {
		return nil
	}
	return &c
}

// notAnOffset stands for what no history has made.
const notAnOffset = "?"

// shortString is a JSON string as short as what the hub makes itself; "" for
// anything else.
func shortString(value []byte) string {
	const most = 32
	if rawjson.KindOf(value) != rawjson.KindString || len(value) > most {
		return ""
	}
	return rawjson.String(value)
}

// appendOffset adds the text of an offset to arguments, as the last.
func appendOffset(args, text []byte) []byte {
	out := make([]byte, 0, len(args)+len(text)+len(`,""`))
	if out = append(out, args...); len(args) > 0 {
		out = append(out, ',')
	}
	return append(append(append(out, '"'), text...), '"')
}

// restoreState makes the socket of a connect call the one that its client was,
// if it has taken that up.
func (c *call) restoreState() {
	s := c.socket
	r := s.recovery
	if r == nil || r.old == nil {
		return
	}
	old := r.old
	s.id = old.id
	s.mu.Lock()
	s.data, s.buckets = old.Data(), old.copyBuckets()
	s.keepLocked(len(s.data))
	s.mu.Unlock()
	was := old.recovery
	r.pid, r.recovered = was.pid, true
	r.since, r.rooms, r.appeared = was.since, was.rooms.Clone(), was.appeared
	c.revokeRooms()
	c.joins = append(c.joins, r.rooms.Rooms()...)
	s.ns.mu.Lock()
	s.left = s.roomNamesLocked()
	for _, a := range r.rooms.Rooms() {
		s.left = append(s.left, a.Name)
	}
	s.ns.mu.Unlock()
}

// revokeRooms takes from a socket that is being recovered the rooms that its
// client chose and may not be in any more.
func (c *call) revokeRooms() {
	n := c.socket.ns
	guard, ok := n.policy().(RoomGuard)
	if !ok {
		return
	}
	rooms := &c.socket.recovery.rooms
	for _, a := range rooms.Chosen() {
		if !guard.AllowsRoom(c, a.Name) {
			rooms.Revoke(a, n.history.last())
		}
	}
}

// takeUp finds the socket that the client of s claims to have been, and takes it
// out of the history. The client is known by now. If that socket's connection
// has not ended yet, it loses it: a phone that changes networks is back before
// the server notices that it was gone.
func (s *Socket) takeUp(b *engine.Batch) {
	r := s.recovery
	if r == nil || r.claim == nil {
		return
	}
	result := s.resolveClaim(b, r.claim)
	r.claim = nil
	s.ns.hub.counts.recoveries[result].Add(1)
}

func (s *Socket) resolveClaim(b *engine.Batch, cl *claim) recoveryResult {
	h := &s.ns.history
	old := h.find(cl.pid)
	switch {
	case old == nil:
		return recoveryUnknown
	case old.UserID() != s.UserID():
		return recoveryRefused
	case old.isJoined():
		c := old.client()
		old.leave(b, string(engine.TransportClose))
		c.session.Close(engine.ForcedClose)
		c.releaseUser()
	}
	from, result := h.take(old, cl)
	if result == recovered {
		s.recovery.old, s.recovery.from = old, from
	}
	return result
}

func (s *Socket) isJoined() bool {
	s.ns.mu.RLock()
	defer s.ns.mu.RUnlock()
	return s.joined
}

// finishRecovery ends what s has taken up, once it is known whether s was let in
// or refused for good. Otherwise the client may try again.
func (s *Socket) finishRecovery(b *engine.Batch, letIn, refused bool) {
	r := s.recovery
	if r == nil || r.old == nil {
		return
	}
	old := r.old
	r.old = nil
	h := &s.ns.history
	switch {
	case letIn:
		h.stopAwaiting(old)
		s.ns.hub.release(s.ns) // what old's disconnect call would do
		return
	case refused:
		h.stopAwaiting(old)
	default:
		kept, evicted := h.putBack(old)
		evict(evicted)
		if kept {
			return
		}
	}
	old.notifyDisconnect(b, old.recovery.lost.reason)
}

// resumeLocked gives a socket that has joined what it can be recovered by, and
// its rooms if it was. The caller holds n.mu.
func (n *Namespace) resumeLocked(s *Socket) {
	r := s.recovery
	n.history.know(s)
	for _, a := range r.rooms.Rooms() {
		n.joinLocked(s, a.Name, true)
	}
}

// ownPlaces are where a socket gets what is sent, whatever its rooms.
func (s *Socket) ownPlaces() []Address {
	own := append(make([]Address, 0, 3), toAll, Address{SocketRoom, s.id})
	if id := s.UserID(); id != "" {
		own = append(own, Address{UserRoom, id})
	}
	return own
}

// noteJoinLocked and noteLeaveLocked note from when on and until when the socket
// gets what goes to a room, and whether its client chose it. They are called with
// Namespace.mu held.
func (s *Socket) noteJoinLocked(room string, chosen bool) {
	if s.recovery != nil {
		s.recovery.rooms.Join(Address{Name: room}, s.ns.history.last(), chosen)
	}
}

func (s *Socket) noteLeaveLocked(room string) {
	if s.recovery != nil {
		s.recovery.rooms.Leave(Address{Name: room}, s.ns.history.last(), s.ns.history.floor())
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
	if r.old.recovery.life != s.ns.history.lives() {
		return false
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
		s.session().Send(b, f)
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

// withOffset is the packet p with the text of an offset as its last argument.
func withOffset(p *parser.Packet, text []byte) *parser.Packet {
	with := *p
	with.Args.JSON = appendOffset(p.Args.JSON, text)
	return &with
}
