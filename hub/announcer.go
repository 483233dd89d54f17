package hub

import (
	"sync"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/presence"
)

const maxPending = 10_000 // changes that end the interval early

// announcer announces to the sockets of a namespace which users are in it and in
// its rooms. Changes are enqueued. Rounds, one at a time, work out what the
// changes come to and announce that. A round is due when the interval has passed
// since the first change, when a user's grace ends, or when the limiter allows
// more of a backlog.
type announcer struct {
	holder // static
	ns     *Namespace

	mu      sync.Mutex
	pending pending
	due     time.Time // of the next round; zero: nothing to do
	timer   *time.Timer
	state   announcerState

	// Owned by the round; once stopped, while there is none, by stop.
	config PresenceConfig
	rooms  map[string]*audience // by room; "": the namespace
	busy   map[string]*audience // those of rooms with something to announce
}

// announcerState says whether rounds go on.
type announcerState uint8

const (
	announcerIdle announcerState = iota
	announcerRound
	announcerStopped // for good
)

// pending is what has happened since the last round.
type pending struct {
	reloaded bool     // the configuration has changed
	changes  []change // a user has come or gone
	arrivals []change // a socket has come
}

// change is of a user or a socket, by its id, in a room; "": the namespace.
type change struct{ room, id string }

// audience is the sockets in a room, or all of a namespace.
type audience struct {
	diff      *presence.Diff
	lists     bool                // newcomers get a list
	byList    bool                // up to maxListed members, all get one whenever it changed
	newcomers map[string]struct{} // ids of sockets that have no list yet; nil if there are none
	held      int                 // bytes that count as memory
}

// reloaded makes the next round, which is due now, go by a new configuration.
func (a *announcer) reloaded() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending.reloaded = true
	a.wakeLocked(time.Now())
}

// changed and arrived enqueue. They are called under Namespace.mu.
func (a *announcer) changed(room, user string) {
	a.enqueue(func(p *pending) { p.changes = append(p.changes, change{room, user}) })
}

func (a *announcer) arrived(room, socket string) {
	a.enqueue(func(p *pending) { p.arrivals = append(p.arrivals, change{room, socket}) })
}

func (a *announcer) enqueue(add func(*pending)) {
	interval := a.ns.spec.Load().Presence.Interval
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state == announcerStopped {
		return
	}
	add(&a.pending)
	a.hold(changeCost)
	if len(a.pending.changes)+len(a.pending.arrivals) > maxPending {
		interval = 0
	}
	a.wakeLocked(time.Now().Add(interval))
}

// wake makes a round due at the latest at that time.
func (a *announcer) wake(at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wakeLocked(at)
}

func (a *announcer) wakeLocked(at time.Time) {
	if a.state == announcerStopped || !a.due.IsZero() && !at.Before(a.due) {
		return
	}
	a.due = at
	if a.state == announcerIdle {
		a.armLocked()
	}
}

func (a *announcer) armLocked() {
	wait := time.Until(a.due)
	if a.timer == nil {
		a.timer = time.AfterFunc(wait, func() { a.ns.hub.insist("presence", a.round) })
	} else {
		a.timer.Reset(wait)
	}
}

// stop ends announcing for good; a round under way still ends.
func (a *announcer) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hold(-a.pending.cost())
	if a.state == announcerIdle { // else the round does
		a.releaseAll()
	}
	a.state, a.pending = announcerStopped, pending{}
	if a.timer != nil {
		a.timer.Stop()
	}
}

func (p *pending) cost() int { return changeCost * (len(p.changes) + len(p.arrivals)) }

// account counts what is known of an audience that may have changed.
func (a *announcer) account(au *audience) {
	now := audienceCost + entryCost*(len(au.diff.Known())+au.diff.Pending()+len(au.newcomers))
	a.hold(now - au.held)
	au.held = now
}

// dropAudience forgets the audience of a room. It is called within a round.
func (a *announcer) dropAudience(room string) {
	a.hold(-a.rooms[room].held)
	delete(a.rooms, room)
	delete(a.busy, room)
}

// releaseAll forgets all audiences, of an announcer that is stopped.
func (a *announcer) releaseAll() {
	for room := range a.rooms {
		a.dropAudience(room)
	}
}

// begin takes what the round has to look at; false if none is due.
func (a *announcer) begin(now time.Time) (p pending, due bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != announcerIdle || a.due.IsZero() || a.due.After(now) {
		return p, false
	}
	p, a.pending = a.pending, pending{}
	a.due, a.state = time.Time{}, announcerRound
	return p, true
}

// finish lets the next round begin, at next if that is not zero.
func (a *announcer) finish(next time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state == announcerStopped {
		a.releaseAll()
		return
	}
	a.state = announcerIdle
	if a.due.IsZero() || !next.IsZero() && next.Before(a.due) {
		a.due = next
	}
	if !a.due.IsZero() {
		a.armLocked()
	}
}

func (a *announcer) round() {
	now := time.Now()
	p, due := a.begin(now)
	if !due {
		return
	}
	var next time.Time
	cost := p.cost()
	defer func() {
		a.hold(-cost)
		a.finish(next)
	}()
	expiry := a.ns.hub.presence.Expire(a.ns.name, now, func(room, user string) {
		p.changes = append(p.changes, change{room, user})
	})
	if p.reloaded {
		a.reconfigure(a.ns.spec.Load().Presence)
	}
	a.collect(&p)
	next = a.announce(now)
	for _, au := range a.busy {
		a.account(au)
	}
	if next.IsZero() || !expiry.IsZero() && expiry.Before(next) {
		next = expiry
	}
}

// audience returns that of a room. It makes one if the room's members are
// announced; else it returns nil.
func (a *announcer) audience(room string) *audience {
	if au := a.rooms[room]; au != nil {
		return au
	}
	if !a.announces(room) {
		return nil
	}
	return a.add(room, new(presence.Diff))
}

func (a *announcer) announces(room string) bool {
	if room == "" {
		return a.config.Announce != AnnounceOff
	}
	return a.config.Rooms != nil && a.config.Rooms(room)
}

func (a *announcer) add(room string, diff *presence.Diff) *audience {
	au := &audience{diff: diff}
	au.setFormat(room, a.config.Announce)
	a.rooms[room] = au
	return au
}

// setFormat sets the form of the audience's announcements.
func (au *audience) setFormat(room string, format Announce) {
	au.lists = room != "" || format == AnnounceList
	au.byList = format != AnnounceDiff
}

func (au *audience) addNewcomer(socket string) {
	if au.newcomers == nil {
		au.newcomers = map[string]struct{}{}
	}
	au.newcomers[socket] = struct{}{}
}

// reconfigure applies a new configuration. An audience that has heard nothing so
// far gets a list, if its format is lists; others continue from what they know.
func (a *announcer) reconfigure(config PresenceConfig) {
	a.config = config
	for room, au := range a.rooms {
		if !a.announces(room) {
			a.dropAudience(room)
			continue
		}
		had := au.lists
		au.setFormat(room, config.Announce)
		au.diff.Sync(a.members(room))
		switch {
		case !au.lists:
			au.newcomers = nil
		case !had:
			a.addNewcomers(room, au)
		}
		a.busy[room] = au
	}
	for _, room := range a.ns.places(config.Rooms != nil) {
		if a.rooms[room] == nil && a.announces(room) {
			au := a.add(room, presence.NewDiff(a.members(room)))
			if au.lists {
				a.addNewcomers(room, au)
			}
			a.busy[room] = au
		}
	}
}

func (a *announcer) members(room string) []string {
	return a.ns.hub.presence.Members(a.ns.name, room)
}

func (a *announcer) addNewcomers(room string, au *audience) {
	for _, id := range a.ns.socketIDs(room) {
		au.addNewcomer(id)
	}
}

// collect notes what pending changes come to.
func (a *announcer) collect(p *pending) {
	for _, c := range p.changes {
		if au := a.audience(c.room); au != nil {
			au.diff.Note(c.id, a.ns.hub.presence.IsMember(a.ns.name, c.room, c.id))
			a.busy[c.room] = au
		}
	}
	for _, c := range p.arrivals {
		if au := a.audience(c.room); au != nil && au.lists {
			au.addNewcomer(c.id)
			a.busy[c.room] = au
		}
	}
}

// announce announces to the audiences what they do not know, as much as the
// limiter allows. It returns when to continue; zero if nothing is left.
func (a *announcer) announce(now time.Time) (next time.Time) {
	limiter := &a.ns.hub.announcements
	if !limiter.next().After(now) {
		b := engine.NewBatch()
		defer b.Flush()
		sent := 0
		for room, au := range a.busy { // in any order: none is always last
			sent += a.announceTo(b, room, au)
			if au.diff.Pending() == 0 && au.newcomers == nil {
				a.account(au)
				delete(a.busy, room)
				if len(au.diff.Known()) == 0 {
					a.dropAudience(room)
				}
			}
			if sent >= roundBytes {
				break
			}
		}
		limiter.spend(now, sent)
	}
	if len(a.busy) == 0 {
		return next
	}
	next = now.Add(a.config.Interval)
	if free := limiter.next(); free.After(next) {
		next = free
	}
	return next
}
