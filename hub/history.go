package hub

import (
	"container/list"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/recovery"
)

// history is what a namespace keeps so that sockets can be recovered: the
// events of the last while, and the sockets that lost their connection. It is a
// recovery.Keeper.
//
// An event gets its offset and goes to all outboxes under mu, so that a client
// that has heard an event has heard all those before it that were for it: its
// offset is one number. So the namespace's broadcasts wait for each other, which
// they do not without recovery. They could run in parallel if each receiver noted
// which event overtook which, but then every delivery would write to the socket
// that it is for; and to encode before mu is taken, with room for the offset,
// gained nothing that could be measured.
type history struct {
	holder
	ns     *Namespace
	window atomic.Int64 // nanoseconds; 0: there is no recovery

	mu       sync.Mutex    // after Namespace.mu, before Session.mu
	most     int           // bytes of events that the process may keep
	reach    time.Duration // how long events are kept; 0: not
	log      recovery.Log[Address, *engine.Frames]
	counted  int // bytes of log that are counted
	life     int // how often recovery was turned off
	byPID    map[string]*Socket
	lost     list.List       // of *Socket, by the time of their loss
	lostSize int             // bytes that they take
	awaited  int             // lost sockets, and those whose clients are being let in again
	awaits   map[Address]int // how many of those get what goes there
	released []*Socket       // that are over and whose policy does not know yet
	keeps    bool            // the budget knows that something is kept
	sweeper  *time.Timer
	ended    bool
}

var toAll = Address{Kind: everybody}

func (h *history) on() bool { return h.window.Load() > 0 }

// configure has the history follow a configuration, also while it is in use:
// the caller calls sweep afterwards. The window of the moment holds for all
// lost sockets. Turning recovery off forgets everything: what is sent then has
// no offset, and nothing could tell later what a client has heard of it.
//
// What a client has received is known for as long ago as its last answer to a
// ping: for that time before the window events are kept, too.
func (h *history) configure(c *Config) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return
	}
	h.window.Store(int64(c.Recovery.Window))
	h.most = c.Recovery.Bytes
	if h.on() {
		h.reach = c.Recovery.Window + c.Engine.PingInterval + c.Engine.PingTimeout + receivedMargin
	} else {
		h.forgetLocked()
	}
}

// forgetLocked forgets all events and lets all lost sockets go.
func (h *history) forgetLocked() {
	h.reach, h.byPID = 0, nil
	h.life++
	h.log.Restart()
	h.countLocked()
	for h.lost.Len() > 0 {
		h.releaseLocked(h.lost.Front().Value.(*Socket))
	}
}

// last is the offset of the last event.
func (h *history) last() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Last()
}

// floor is the offset up to which events are not kept any more.
func (h *history) floor() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Floor()
}

// lives is how often recovery was turned off.
func (h *history) lives() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.life
}

// stampLocked gives o the offset of what the client will have heard with it.
func (h *history) stampLocked(o *outgoing, offset uint64) {
	o.offset = h.log.AppendOffset(o.stamp[:0], offset)
}

// recordLocked gives o, which is e from a socket, its offset; if keep, it is
// kept.
func (h *history) recordLocked(from *Socket, e *Emission, o *outgoing, keep bool) {
	if !keep {
		h.stampLocked(o, h.log.Last())
		return
	}
	h.stampLocked(o, h.log.Next())
	p := recovery.Event[Address, *engine.Frames]{At: time.Now(), Payload: o.encoded(socketIO), Except: ownAddresses(e.Except)}
	switch {
	case e.Scope == ToAll:
		p.To = []Address{toAll}
	case e.Scope == ToSelf:
		p.To = []Address{{SocketRoom, from.id}}
	default:
		p.To = distinct(ownAddresses(e.To))
	}
	if e.NotSelf && from != nil {
		p.Except = append(p.Except, Address{SocketRoom, from.id})
	}
	names := 0
	for _, list := range [...][]Address{p.To, p.Except} {
		for _, a := range list {
			names += len(a.Name)
		}
	}
	h.log.Append(p, names)
	h.log.Trim(p.At.Add(-h.reach))
	h.countLocked()
	for !h.log.Empty() && h.budget().Exceeded(h.counted, h.most) {
		h.log.DropFor(p.To)
		h.countLocked()
	}
	h.sweepLaterLocked()
}

// distinct removes repetitions from a short list.
func distinct(list []Address) []Address {
	out := list[:0]
next:
	for _, a := range list {
		for _, b := range out {
			if a == b {
				continue next
			}
		}
		out = append(out, a)
	}
	return out
}

func (h *history) budget() *recovery.Budget { return h.ns.hub.recovery }

// countLocked counts what log takes by now.
func (h *history) countLocked() {
	grew := h.log.Bytes() - h.counted
	h.counted += grew
	h.budget().GrowEvents(grew)
	h.hold(grew)
	if keeps := h.counted > 0 || h.lost.Len() > 0; keeps != h.keeps {
		h.keeps = keeps
		h.budget().Keeps(h, keeps)
	}
}

// keepsLocked reports whether e from a socket is to be kept: whether a client
// that may come back to its socket gets it, or would if it were there.
// Namespace.mu and h.mu are held.
func (h *history) keepsLocked(from *Socket, e *Emission) bool {
	if e.Volatile {
		return false
	}
	skip := from
	if !e.NotSelf {
		skip = nil
	}
	switch e.Scope {
	case ToSelf:
		return from != nil && (from.joined && from.recovery != nil || h.awaits[Address{SocketRoom, from.id}] > 0)
	case ToAll:
		return h.awaited > 0 || h.ns.all.hasRecoverable(skip)
	}
	for _, a := range e.To {
		if h.awaits[a] > 0 {
			return true
		}
		if r := h.ns.roomLocked(a); r != nil && r.hasRecoverable(skip) {
			return true
		}
		if s := h.ns.socketLocked(a); s != nil && s != skip && s.recovery != nil {
			return true
		}
	}
	return false
}

func (r *room) hasRecoverable(skip *Socket) bool {
	for i := range r.members {
		if m := &r.members[i]; m.socket != skip && m.codec == socketIO && m.socket.recovery != nil {
			return true
		}
	}
	return false
}

// know makes a socket that has joined known by its pid. Its membership begins
// now, unless it was recovered.
func (h *history) know(s *Socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := s.recovery
	if !r.recovered {
		r.since = h.log.Last()
	}
	r.life = h.life
	if h.byPID == nil {
		h.byPID = map[string]*Socket{}
	}
	h.byPID[r.pid] = s
}

func (h *history) find(pid string) *Socket {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byPID[pid]
}

// losses are the reasons after which a client may come back to its state.
var losses = map[string]bool{
	string(engine.TransportClose): true, string(engine.TransportError): true, string(engine.PingTimeout): true,
	string(engine.ForcedClose): true, string(engine.SlowConsumer): true, reasonExpired: true,
}

// keep keeps a socket that is leaving its namespace; false if it cannot be
// recovered. Sockets that give way to it are among the released: the caller
// calls notifyReleased of those namespaces. Namespace.mu is held.
func (h *history) keep(s *Socket, reason string) (kept bool, evicted []*recovery.Seat) {
	r := s.recovery
	if r == nil {
		return false, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !losses[reason] || !h.on() || r.life != h.life {
		delete(h.byPID, r.pid)
		return false, nil
	}
	session := s.client().session
	handshake := session.Handshake()
	r.lost = lost{
		at: time.Now(), reason: reason, has: h.log.Before(session.Received().Add(-receivedMargin)),
		account: session.Account(), address: handshake.Address(), remoteIP: strings.Clone(handshake.RemoteIP),
	}
	if kept, evicted = h.seatLocked(s); kept {
		h.awaitLocked(s, 1)
	} else {
		delete(h.byPID, r.pid)
	}
	return kept, evicted
}

// seatLocked puts a socket among the lost ones if there is a place for it.
func (h *history) seatLocked(s *Socket) (ok bool, evicted []*recovery.Seat) {
	l := &s.recovery.lost
	key, capped := s.lossOwner()
	l.size = s.lostSize()
	l.seat, evicted = h.budget().Seat(key, s, l.size, h.most/2, capped)
	if l.seat == nil {
		return false, evicted
	}
	// After those that were lost before it: all, unless it has come back in vain.
	e := h.lost.Back()
	for e != nil && e.Value.(*Socket).recovery.lost.at.After(l.at) {
		e = e.Prev()
	}
	if e == nil {
		l.place = h.lost.PushFront(s)
	} else {
		l.place = h.lost.InsertAfter(s, e)
	}
	h.growLostLocked(l.size)
	h.sweepLaterLocked()
	return true, evicted
}

// awaitLocked counts a socket whose client may come back where it gets what is
// sent, or takes it off.
func (h *history) awaitLocked(s *Socket, n int) {
	if h.awaits == nil {
		h.awaits = map[Address]int{}
	}
	h.awaited += n
	for _, a := range append(s.ownPlaces(), s.recovery.rooms.Rooms()...) {
		if h.awaits[a] += n; h.awaits[a] == 0 {
			delete(h.awaits, a)
		}
	}
}

// unseatLocked takes a socket from among the lost ones.
func (h *history) unseatLocked(s *Socket) {
	l := &s.recovery.lost
	h.lost.Remove(l.place)
	l.place = nil
	h.budget().Leave(l.seat)
	l.seat = nil
	h.growLostLocked(-l.size)
	delete(h.byPID, s.recovery.pid)
}

func (h *history) growLostLocked(bytes int) {
	h.lostSize += bytes
	h.hold(bytes)
	h.countLocked()
}

// releaseLocked lets a lost socket go, of which notifyReleased will tell.
func (h *history) releaseLocked(s *Socket) {
	h.unseatLocked(s)
	h.awaitLocked(s, -1)
	h.released = append(h.released, s)
}

// receivedMargin is far more than passes between an event's getting its time
// and its being queued everywhere.
const receivedMargin = 5 * time.Second

// take takes out a lost socket whose client has come back with cl. from is the
// last event that it has. What is sent to the socket is kept further: the caller
// owes a putBack or stopAwaiting.
func (h *history) take(s *Socket, cl *claim) (from uint64, result recoveryResult) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := s.recovery
	if r.lost.place == nil || h.overLocked(s, time.Now()) {
		return 0, recoveryUnknown
	}
	from, ok := r.since, true
	if cl.offset != "" { // without, it has heard nothing since it joined
		from, ok = h.log.ParseOffset(cl.offset)
	}
	from = max(from, r.since, r.lost.has)
	if !ok {
		return 0, recoveryGap
	}
	if _, ok = h.missedLocked(from, s); !ok {
		return 0, recoveryGap
	}
	h.unseatLocked(s)
	return from, recovered
}

// putBack keeps a socket further whose client came back in vain, but may try
// again; false if its time is over.
func (h *history) putBack(s *Socket) (kept bool, evicted []*recovery.Seat) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.on() && s.recovery.life == h.life && !h.overLocked(s, time.Now()) {
		kept, evicted = h.seatLocked(s)
	}
	if kept {
		h.byPID[s.recovery.pid] = s
	} else {
		h.awaitLocked(s, -1)
	}
	return kept, evicted
}

// stopAwaiting forgets a socket that was taken, for good.
func (h *history) stopAwaiting(s *Socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.awaitLocked(s, -1)
}

func (h *history) overLocked(s *Socket, now time.Time) bool {
	return now.Sub(s.recovery.lost.at) > time.Duration(h.window.Load())
}

// missed is what was sent to s after the event from; false if that is not known
// any more, or more than its outbox takes.
func (h *history) missed(from uint64, s *Socket) ([]*engine.Frames, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.missedLocked(from, s)
}

func (h *history) missedLocked(from uint64, s *Socket) ([]*engine.Frames, bool) {
	v := recovery.Viewer[Address]{Own: s.ownPlaces(), Rooms: &s.recovery.rooms}
	return h.log.Since(from, v, h.ns.hub.config.Load().Engine.Outbox/2, messageCost)
}

// sweepLaterLocked has a sweep come, as long as there is something to forget.
func (h *history) sweepLaterLocked() {
	if h.sweeper != nil || h.ended || !h.keeps {
		return
	}
	const shares = 16 // of the window, by which something may outlive it
	period := max(time.Duration(h.window.Load())/shares, 50*time.Millisecond)
	h.sweeper = time.AfterFunc(period, func() { h.ns.hub.insist("recovery", h.sweep) })
}

// sweep forgets what is too old, and lets sockets go whose clients did not come
// back.
func (h *history) sweep() {
	h.mu.Lock()
	now := time.Now()
	h.log.Trim(now.Add(-h.reach))
	h.log.Tidy()
	for e := h.lost.Front(); e != nil && h.overLocked(e.Value.(*Socket), now); e = h.lost.Front() {
		h.releaseLocked(e.Value.(*Socket))
	}
	h.countLocked()
	if h.sweeper != nil {
		h.sweeper.Stop()
		h.sweeper = nil
	}
	h.sweepLaterLocked()
	h.mu.Unlock()
	h.notifyReleased()
}

// end lets all lost sockets go; the history keeps nothing from then on.
func (h *history) end() {
	h.mu.Lock()
	h.ended = true
	h.window.Store(0)
	h.forgetLocked()
	if h.sweeper != nil {
		h.sweeper.Stop()
		h.sweeper = nil
	}
	h.mu.Unlock()
	h.notifyReleased()
}

// notifyReleased tells the policy of the sockets that were let go. No lock is
// held.
func (h *history) notifyReleased() {
	h.mu.Lock()
	gone := h.released
	h.released = nil
	h.mu.Unlock()
	if gone == nil {
		return
	}
	b := engine.NewBatch()
	defer b.Flush()
	for _, s := range gone {
		s.notifyDisconnect(b, s.recovery.lost.reason)
	}
}

// evict lets lost sockets go that gave way to others, of any namespace. No lock
// is held.
func evict(seats []*recovery.Seat) {
	for _, seat := range seats {
		s := seat.Socket.(*Socket)
		h := &s.ns.history
		h.mu.Lock()
		if s.recovery.lost.seat == seat { // else its client has come back meanwhile
			h.releaseLocked(s)
		}
		h.mu.Unlock()
		h.notifyReleased()
	}
}

// Kept is what events and lost sockets take.
func (h *history) Kept() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counted + h.lostSize
}

// Shed forgets the oldest events and then lets the sockets go that were lost
// first.
func (h *history) Shed(bytes int) {
	h.mu.Lock()
	enough := h.counted + h.lostSize - bytes
	for h.counted+h.lostSize > enough && !h.log.Empty() {
		h.log.DropFor(nil)
		h.countLocked()
	}
	for h.counted+h.lostSize > enough && h.lost.Len() > 0 {
		h.releaseLocked(h.lost.Front().Value.(*Socket))
	}
	h.mu.Unlock()
	h.notifyReleased()
}
