package hub

import (
	"sync"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/presence"
)

const maxNews = 10_000 // changes that end the interval early

// announcer tells the sockets of a namespace who is in it and in its rooms.
// Changes are enqueued; rounds, one at a time, look at what they come to and
// tell it. A round is due when the interval has passed since the first change,
// when somebody's grace ends, or when the pace lets a backlog go on.
type announcer struct {
	holder // static
	ns     *Namespace

	mu    sync.Mutex
	news  news
	due   time.Time // of the next round; zero: nothing to do
	timer *time.Timer
	state announcerState

	// Owned by the round; once stopped, while there is none, by stop.
	config PresenceConfig
	rooms  map[string]*audience // by room; "": the namespace
	busy   map[string]*audience // those of them who are to be told something
}

// announcerState says whether rounds go on.
type announcerState uint8

const (
	announcerIdle announcerState = iota
	announcerRound
	announcerStopped // for good
)

// news is what happened since the last round.
type news struct {
	reloaded bool    // the configuration has changed
	changes  []visit // a user has come or gone
	arrivals []visit // a socket has come
}

// visit is a user or a socket, by its id, in a room; "": the namespace.
type visit struct{ room, id string }

// audience is the sockets in a room, or all of a namespace.
type audience struct {
	told    *presence.Told
	lists   bool                // newcomers get a list
	byList  bool                // up to maxListed members, all get one whenever it changed
	waiting map[string]struct{} // ids of sockets that have no list yet; nil if none
	held    int                 // bytes that count as memory
}

// reloaded makes the next round, which is due now, go by a new configuration.
func (a *announcer) reloaded() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.news.reloaded = true
	a.wakeLocked(time.Now())
}

// changed and arrived enqueue. They are called under Namespace.mu.
func (a *announcer) changed(room, user string) {
	a.enqueue(func(n *news) { n.changes = append(n.changes, visit{room, user}) })
}

func (a *announcer) arrived(room, socket string) {
	a.enqueue(func(n *news) { n.arrivals = append(n.arrivals, visit{room, socket}) })
}

func (a *announcer) enqueue(add func(*news)) {
	interval := a.ns.spec.Load().Presence.Interval
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state == announcerStopped {
		return
	}
	add(&a.news)
	a.hold(visitCost)
	if len(a.news.changes)+len(a.news.arrivals) > maxNews {
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
	a.hold(-a.news.cost())
	if a.state == announcerIdle { // else the round does
		a.releaseAll()
	}
	a.state, a.news = announcerStopped, news{}
	if a.timer != nil {
		a.timer.Stop()
	}
}

func (n *news) cost() int { return visitCost * (len(n.changes) + len(n.arrivals)) }

// account counts what is known of an audience that may have changed.
func (a *announcer) account(au *audience) {
	now := audienceCost + entryCost*(len(au.told.Known())+au.told.Pending()+len(au.waiting))
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
func (a *announcer) begin(now time.Time) (n news, due bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != announcerIdle || a.due.IsZero() || a.due.After(now) {
		return n, false
	}
	n, a.news = a.news, news{}
	a.due, a.state = time.Time{}, announcerRound
	return n, true
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
	heard, due := a.begin(now)
	if !due {
		return
	}
	var next time.Time
	told := heard.cost()
	defer func() {
		a.hold(-told)
		a.finish(next)
	}()
	expiry := a.ns.hub.presence.Expire(a.ns.name, now, func(room, user string) {
		heard.changes = append(heard.changes, visit{room, user})
	})
	if heard.reloaded {
		a.follow(a.ns.spec.Load().Presence)
	}
	a.collect(&heard)
	next = a.tell(now)
	for _, au := range a.busy {
		a.account(au)
	}
	if next.IsZero() || !expiry.IsZero() && expiry.Before(next) {
		next = expiry
	}
}

// audience is that of a room, made on the spot if the room is to be told of
// its members; else nil.
func (a *announcer) audience(room string) *audience {
	if au := a.rooms[room]; au != nil {
		return au
	}
	if !a.tells(room) {
		return nil
	}
	return a.add(room, new(presence.Told))
}

func (a *announcer) tells(room string) bool {
	if room == "" {
		return a.config.Announce != AnnounceOff
	}
	return a.config.Rooms != nil && a.config.Rooms(room)
}

func (a *announcer) add(room string, told *presence.Told) *audience {
	au := &audience{told: told}
	au.speak(room, a.config.Announce)
	a.rooms[room] = au
	return au
}

// speak sets the form in which the audience is told.
func (au *audience) speak(room string, how Announce) {
	au.lists = room != "" || how == AnnounceList
	au.byList = how != AnnounceDiff
}

func (au *audience) wait(socket string) {
	if au.waiting == nil {
		au.waiting = map[string]struct{}{}
	}
	au.waiting[socket] = struct{}{}
}

// follow goes by a new configuration. Those who were told nothing so far get a
// list, if they are to be told in lists; who was told goes on from there.
func (a *announcer) follow(config PresenceConfig) {
	a.config = config
	for room, au := range a.rooms {
		if !a.tells(room) {
			a.dropAudience(room)
			continue
		}
		had := au.lists
		au.speak(room, config.Announce)
		au.told.Sync(a.members(room))
		switch {
		case !au.lists:
			au.waiting = nil
		case !had:
			a.waitAll(room, au)
		}
		a.busy[room] = au
	}
	for _, room := range a.ns.places(config.Rooms != nil) {
		if a.rooms[room] == nil && a.tells(room) {
			au := a.add(room, presence.Knows(a.members(room)))
			if au.lists {
				a.waitAll(room, au)
			}
			a.busy[room] = au
		}
	}
}

func (a *announcer) members(room string) []string {
	return a.ns.hub.presence.Members(a.ns.name, room)
}

func (a *announcer) waitAll(room string, au *audience) {
	for _, id := range a.ns.socketIDs(room) {
		au.wait(id)
	}
}

// collect notes what the news come to.
func (a *announcer) collect(n *news) {
	for _, c := range n.changes {
		if au := a.audience(c.room); au != nil {
			au.told.Note(c.id, a.ns.hub.presence.IsMember(a.ns.name, c.room, c.id))
			a.busy[c.room] = au
		}
	}
	for _, c := range n.arrivals {
		if au := a.audience(c.room); au != nil && au.lists {
			au.wait(c.id)
			a.busy[c.room] = au
		}
	}
}

// tell tells the audiences what they do not know, as far as the pace allows,
// and returns when to go on; zero if all is told.
func (a *announcer) tell(now time.Time) (next time.Time) {
	pace := &a.ns.hub.pace
	if !pace.next().After(now) {
		b := engine.NewBatch()
		defer b.Flush()
		sent := 0
		for room, au := range a.busy { // in any order: none is always last
			sent += a.tellOne(b, room, au)
			if au.told.Pending() == 0 && au.waiting == nil {
				a.account(au)
				delete(a.busy, room)
				if len(au.told.Known()) == 0 {
					a.dropAudience(room)
				}
			}
			if sent >= roundBytes {
				break
			}
		}
		pace.spend(now, sent)
	}
	if len(a.busy) == 0 {
		return next
	}
	next = now.Add(a.config.Interval)
	if free := pace.next(); free.After(next) {
		next = free
	}
	return next
}
