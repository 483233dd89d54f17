package hub

import (
	"container/list"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/engine"
)

// history is what a namespace keeps so that sockets can be recovered: the
// events of the last while, and the sockets that lost their connection.
//
// An event gets its offset and goes to all outboxes under mu, so that what a
// client has heard is everything up to some offset. That lets the namespace's
// broadcasts wait for each other, which they do not without recovery.
type history struct {
	holder
	ns     *Namespace
	window atomic.Int64 // nanoseconds; 0: there is no recovery

	mu      sync.Mutex    // after Namespace.mu, before Session.mu
	most    int           // bytes that the hub may keep
	reach   time.Duration // how long events are kept; 0: not
	seq     uint64        // the offset of the last event; that of the first is 2
	events  []pastEvent
	floor   uint64               // the offset of the last event that is not in events any more
	floorAt time.Time            // and when it was sent
	sentTo  map[Address][]uint64 // the offsets of what went there, in order
	bytes   int                  // of events
	byPID   map[string]*Socket
	lost    list.List // of *Socket, by the time of their loss
	sweeper *time.Timer
	ended   bool
}

// lost is the place of a socket in the history after it lost its connection.
type lost struct {
	place  *list.Element // nil: it has its connection, or was taken up
	until  time.Time
	reason string
	size   int
	has    uint64 // the last event that its client surely has
}

// pastEvent is an event that was sent.
type pastEvent struct {
	at         time.Time
	frames     *engine.Frames
	size       int
	to, except []Address
	skip       string // the id of the socket that it did not go to
}

var toAll = Address{Kind: everybody}

// pastMemory is what all histories of a hub keep together.
type pastMemory struct {
	events, lost atomic.Int64 // bytes
	keepers      atomic.Int64 // histories with events
}

const (
	pastEventCost = 250
	targetCost    = 60
	lostCost      = 2000 // a socket with its session and handshake
)

func (h *history) on() bool { return h.window.Load() > 0 }

// configure has the history follow a configuration, also while it is in use.
//
// What a client has received is known for as long ago as its last answer to a
// ping: for that time before the window events are kept, too.
func (h *history) configure(c *Config) {
	h.window.Store(int64(c.Recovery.Window))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.most, h.reach = c.Recovery.Bytes, 0
	if h.on() {
		h.reach = c.Recovery.Window + c.Engine.PingInterval + c.Engine.PingTimeout + receivedMargin
	}
	h.trimLocked(time.Now())
}

// last is the offset of the last event.
func (h *history) last() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seq
}

// forgotten is the offset of the last event that is not kept any more.
func (h *history) forgotten() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.floor
}

// recordLocked gives o its offset, and keeps it unless it is volatile.
func (h *history) recordLocked(from *Socket, e *Emission, o *outgoing) {
	if e.Volatile || e.Scope == ToRooms && len(e.To) == 0 {
		o.offset = h.seq // what the client has heard with it
		return
	}
	h.seq++
	o.offset = h.seq
	p := pastEvent{at: time.Now(), frames: o.encoded(socketIO), except: ownAddresses(e.Except)}
	switch {
	case e.Scope == ToAll:
		p.to = []Address{toAll}
	case e.Scope == ToSelf && from != nil:
		p.to = []Address{{SocketRoom, from.id}}
	default:
		p.to = ownAddresses(e.To)
	}
	if e.NotSelf && from != nil {
		p.skip = from.id
	}
	p.size = p.frames.Len() + pastEventCost
	for _, a := range slices.Concat(p.to, p.except) {
		p.size += targetCost + len(a.Name)
	}
	h.appendLocked(p)
	h.trimLocked(p.at)
	h.sweepLaterLocked()
}

// appendLocked adds the event of the offset seq.
func (h *history) appendLocked(p pastEvent) {
	if h.events == nil {
		h.sentTo = map[Address][]uint64{}
		h.ns.hub.past.keepers.Add(1)
	}
	h.events = append(h.events, p)
	for _, a := range p.to {
		h.sentTo[a] = append(h.sentTo[a], h.seq)
	}
	h.growLocked(p.size)
}

// dropFirstLocked forgets the oldest event.
func (h *history) dropFirstLocked() {
	p := &h.events[0]
	h.floor, h.floorAt = h.floor+1, p.at
	for _, a := range p.to {
		if rest := h.sentTo[a][1:]; len(rest) > 0 {
			h.sentTo[a] = rest
		} else {
			delete(h.sentTo, a)
		}
	}
	h.growLocked(-p.size)
	*p = pastEvent{}
	if h.events = h.events[1:]; len(h.events) == 0 {
		h.events, h.sentTo = nil, nil
		h.ns.hub.past.keepers.Add(-1)
	}
}

func (h *history) growLocked(bytes int) {
	h.bytes += bytes
	h.ns.hub.past.events.Add(int64(bytes))
	h.hold(bytes)
}

// trimLocked forgets events that are too old, or more than may be kept.
func (h *history) trimLocked(now time.Time) {
	oldest := now.Add(-h.reach)
	for len(h.events) > 0 && (h.tooMuchLocked() || !h.events[0].at.After(oldest)) {
		h.dropFirstLocked()
	}
}

// tooMuchLocked reports whether the hub keeps more events than it may, and this
// history more than its share. One that is silent keeps what it has, for the
// window: all together keep less than twice what they may.
func (h *history) tooMuchLocked() bool {
	past := &h.ns.hub.past
	return past.events.Load() > int64(h.most) && int64(h.bytes)*past.keepers.Load() > int64(h.most)
}

// know makes a socket known by its pid.
func (h *history) know(s *Socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byPID == nil {
		h.byPID = map[string]*Socket{}
	}
	h.byPID[s.recovery.pid] = s
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
// recovered. Namespace.mu is held.
func (h *history) keep(s *Socket, reason string) bool {
	r := s.recovery
	if r == nil {
		return false
	}
	size := lostCost + r.stays.size()
	h.mu.Lock()
	defer h.mu.Unlock()
	past := &h.ns.hub.past
	if !losses[reason] || !h.on() || h.ended || past.lost.Load()+int64(size) > int64(h.most/2) {
		delete(h.byPID, r.pid)
		return false
	}
	r.lost = lost{place: h.lost.PushBack(s), until: time.Now().Add(time.Duration(h.window.Load())), reason: reason, size: size}
	r.lost.has = h.sentByLocked(s.session.Received().Add(-receivedMargin))
	past.lost.Add(int64(size))
	h.hold(size)
	h.sweepLaterLocked()
	return true
}

// receivedMargin is far more than passes between an event's getting its time
// and its being queued everywhere.
const receivedMargin = 5 * time.Second

// sentByLocked is the offset of the last event before t; 0 if it is not known
// any more.
func (h *history) sentByLocked(t time.Time) uint64 {
	if t.Before(h.floorAt) {
		return 0
	}
	n, _ := slices.BinarySearchFunc(h.events, t, func(p pastEvent, t time.Time) int { return p.at.Compare(t) })
	return h.floor + uint64(n)
}

// take takes out a lost socket whose client has come back with cl. from is the
// last event that it has.
func (h *history) take(s *Socket, cl *claim) (from uint64, result recoveryResult) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := s.recovery
	if r.lost.place == nil || time.Now().After(r.lost.until) {
		return 0, recoveryUnknown
	}
	from, ok := r.since, true
	if cl.offset != "" { // without, it has heard nothing since it joined
		from, ok = parseOffset(cl.offset)
	}
	from = max(from, r.since, r.lost.has)
	if !ok {
		return 0, recoveryGap
	}
	if _, ok = h.missedLocked(from, s); !ok {
		return 0, recoveryGap
	}
	h.dropLocked(s)
	return from, recovered
}

func (h *history) dropLocked(s *Socket) {
	l := &s.recovery.lost
	h.lost.Remove(l.place)
	l.place = nil
	h.ns.hub.past.lost.Add(-int64(l.size))
	h.hold(-l.size)
	delete(h.byPID, s.recovery.pid)
}

// missed is what was sent to s after the event from, to which it has listened
// last; false if that is not known any more, or more than its outbox takes.
func (h *history) missed(from uint64, s *Socket) ([]*engine.Frames, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.missedLocked(from, s)
}

func (h *history) missedLocked(from uint64, s *Socket) (frames []*engine.Frames, ok bool) {
	if from < max(h.floor, s.recovery.stays.known) || from > h.seq {
		return nil, false
	}
	left := h.ns.hub.config.Load().Engine.Outbox / 2
	offsets, ok := h.offsetsLocked(from, s, left/messageCost)
	if !ok {
		return nil, false
	}
	for _, seq := range offsets {
		p := &h.events[seq-h.floor-1]
		if !p.reaches(s, seq) {
			continue
		}
		frames = append(frames, p.frames)
		if left -= p.frames.Len() + messageCost; left < 0 {
			return nil, false
		}
	}
	return frames, true
}

// offsetsLocked lists the events after from that went to where s was, in order;
// false if there are more than most. What that costs does not depend on how
// much else was sent.
func (h *history) offsetsLocked(from uint64, s *Socket, most int) (all []uint64, ok bool) {
	add := func(a Address, after, to uint64) {
		list := h.sentTo[a]
		first, _ := slices.BinarySearch(list, max(from, after)+1)
		list = list[first:min(len(list), first+most+1)]
		for len(list) > 0 && list[len(list)-1] > to {
			list = list[:len(list)-1]
		}
		all = append(all, list...)
	}
	add(toAll, 0, stillThere)
	add(Address{SocketRoom, s.id}, 0, stillThere)
	if id := s.UserID(); id != "" {
		add(Address{UserRoom, id}, 0, stillThere)
	}
	for _, st := range s.recovery.stays.list {
		if len(all) <= most && !st.barred {
			add(Address{Name: st.room}, st.from, st.to)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all, len(all) <= most
}

// reaches reports whether the event of that offset, which went to where s was,
// went to s.
func (p *pastEvent) reaches(s *Socket, seq uint64) bool {
	return p.skip != s.id && !slices.ContainsFunc(p.except, func(a Address) bool {
		switch a.Kind {
		case SocketRoom:
			return a.Name == s.id
		case UserRoom:
			return a.Name != "" && a.Name == s.UserID()
		}
		return s.recovery.stays.had(a.Name, seq)
	})
}

// sweepLaterLocked has a sweep come, as long as there is something to forget.
func (h *history) sweepLaterLocked() {
	if h.sweeper != nil || h.ended || len(h.events) == 0 && h.lost.Len() == 0 {
		return
	}
	const shares = 16 // of the window, by which something may outlive it
	period := max(time.Duration(h.window.Load())/shares, 50*time.Millisecond)
	h.sweeper = time.AfterFunc(period, func() { h.ns.hub.insist("recovery", h.sweep) })
}

// sweep forgets events, and lets sockets go whose clients did not come back.
func (h *history) sweep() {
	now := time.Now()
	h.bow(func(s *Socket) bool { return !h.on() || now.After(s.recovery.lost.until) })
}

// end lets all lost sockets go; the history keeps nothing from then on.
func (h *history) end() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.bow(func(*Socket) bool { return true })
}

// bow tells the policy of the lost sockets that are over, the oldest first.
func (h *history) bow(over func(*Socket) bool) {
	h.mu.Lock()
	var gone []*Socket
	for e := h.lost.Front(); e != nil && over(e.Value.(*Socket)); e = h.lost.Front() {
		gone = append(gone, e.Value.(*Socket))
		h.dropLocked(e.Value.(*Socket))
	}
	if h.sweeper != nil {
		h.sweeper.Stop()
		h.sweeper = nil
	}
	now := time.Now()
	if h.ended {
		now = now.Add(h.reach) // nothing is young enough
	}
	h.trimLocked(now)
	h.sweepLaterLocked()
	h.mu.Unlock()
	b := engine.NewBatch()
	defer b.Flush()
	for _, s := range gone {
		s.bow(b, s.recovery.lost.reason)
	}
}
