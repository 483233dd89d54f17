// Package hub is the Socket.IO server: who is connected, who is in which
// room, who gets what. What an event does is decided by a Policy.
//
// engine, presence → **hub** → rules. The package knows neither Caddy nor the
// rule language, and the wire only through parser.
package hub

import (
	"cmp"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/broker"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/guard"
	"github.com/caddy-realtime/realtime/parser"
	"github.com/caddy-realtime/realtime/presence"
	"github.com/caddy-realtime/realtime/recovery"
)

// Config is what a Hub works by. The zero value of a field means its default.
// A Config is not changed after it was handed over.
type Config struct {
	Engine     engine.Config     // its Rates hold for events, what they cause, and the time that policies take, too
	Namespaces []NamespaceConfig // exact names win over patterns, patterns in order

	MaxAttachments      int // binary values in one packet from a client; default 10
	RoomsPerSocket      int // rooms that one socket may have joined; default 128
	NamespacesPerClient int // namespaces that one connection may have joined; default 16
	DynamicNamespaces   int // namespaces that exist because of a Pattern; default 1000
	DataBytes           int // size of one socket.data as JSON; default 16,384
	WaitingEvents       int // events of one socket that wait for a held call; default 64
	WaitingBytes        int // bytes of the same; default 1,000,000
	PendingAsks         int // unanswered Asks of one socket; default 64
	ConnectionsPerUser  int // connections of one user; default: no limit

	// Recovery is what sockets that lose their connection find again.
	Recovery RecoveryConfig

	// Broker connects the hub with other nodes; nil: there are none. It is
	// taken by New only and stays the caller's to close, after the hub.
	Broker broker.Broker
	Logger *slog.Logger // default: discard
}

// NamespaceConfig says how one namespace, or all that match a pattern, behave.
type NamespaceConfig struct {
	Name     string         // "/" or "/chat"; ignored if Pattern is set
	Pattern  *regexp.Regexp // must match the whole name; the zero value: none
	Policy   Policy
	Auth     Authenticator // nil: everybody is anonymous
	Presence PresenceConfig

	// RoomsPerSocket is as of Config, whose is the default.
	RoomsPerSocket int
	// ConnectionsPerUser is how many connections of one user may be in the
	// namespace, beside Config's limit of all. Default: no limit.
	ConnectionsPerUser int
}

func (c Config) withDefaults() Config {
	c.MaxAttachments = cmp.Or(c.MaxAttachments, 10)
	c.RoomsPerSocket = cmp.Or(c.RoomsPerSocket, 128)
	c.NamespacesPerClient = cmp.Or(c.NamespacesPerClient, 16)
	c.DynamicNamespaces = cmp.Or(c.DynamicNamespaces, 1000)
	c.DataBytes = cmp.Or(c.DataBytes, 16<<10)
	c.WaitingEvents = cmp.Or(c.WaitingEvents, 64)
	c.WaitingBytes = cmp.Or(c.WaitingBytes, 1_000_000)
	c.PendingAsks = cmp.Or(c.PendingAsks, 64)
	c.Recovery.Bytes = cmp.Or(c.Recovery.Bytes, DefaultRecoveryBytes)
	c.Engine = c.Engine.WithDefaults()
	c.Namespaces = slices.Clone(c.Namespaces)
	for i := range c.Namespaces {
		if p := c.Namespaces[i].Pattern; p != nil {
			c.Namespaces[i].Pattern = regexp.MustCompile(`\A(?:` + p.String() + `)\z`)
		}
		interval := &c.Namespaces[i].Presence.Interval
		*interval = cmp.Or(*interval, 100*time.Millisecond)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Hub holds the namespaces of one realtime endpoint. It is safe for
// concurrent use and outlives the configurations it works by.
type Hub struct {
	// Static after construction.
	engine   *engine.Server
	broker   broker.Broker // nil: this node only
	recovery *recovery.Budget
	detached *client // of lost sockets

	config        atomic.Pointer[Config]
	counts        counters
	panics        guard.Panics
	logins        logins
	presence      presence.State
	announcements announcementLimiter
	refusals      refusals
	users         budget.Accounts[string] // by their ids

	mu         sync.Mutex
	namespaces map[string]*Namespace // guarded by mu
	dynamic    int                   // how many of them exist because of a pattern; guarded by mu
}

// New returns a Hub that works by c.
func New(c Config) *Hub {
	c = c.withDefaults()
	h := &Hub{namespaces: map[string]*Namespace{}, recovery: cmp.Or(c.Recovery.Budget, new(recovery.Budget))}
	c.Engine.Reclaim = h.reclaim
	h.config.Store(&c)
	h.refusals.know(c.Namespaces)
	h.engine = engine.NewServer(h, c.Engine)
	h.detached = &client{hub: h, session: h.engine.Detached(), opening: &noOpening, closed: true}
	h.presence.Grew = holder{h.engine, budget.Presence}.hold
	if h.broker = c.Broker; h.broker != nil {
		h.broker.Subscribe(h.receive)
	}
	return h
}

// Engine serves the hub's HTTP requests.
func (h *Hub) Engine() *engine.Server { return h.engine }

// Update makes the hub work by c: policies and the hub's own limits at once,
// the engine's settings from the next handshake. Sockets of namespaces that c
// does not know are disconnected.
func (h *Hub) Update(c Config) {
	c = c.withDefaults()
	c.Engine.Reclaim = h.reclaim
	h.engine.Update(c.Engine)

	h.mu.Lock()
	h.refusals.know(c.Namespaces)
	h.config.Store(&c)
	var stay, gone []*Namespace
	for name, n := range h.namespaces {
		if spec := c.namespace(name); spec != nil {
			n.follow(spec)
			n.history.configure(&c)
			stay = append(stay, n)
		} else {
			h.forgetLocked(n)
			gone = append(gone, n)
		}
	}
	h.mu.Unlock()

	for _, n := range gone {
		n.close()
		h.settle(n)
	}
	for _, n := range stay {
		h.insist("recovery", n.history.sweep)
		h.insist("presence", n.announcer.round) // now: who comes next is news
	}
}

// Close disconnects everybody and waits until their policies were told and no
// Authenticator runs. The clients see the transport close, so that they try to
// connect again.
func (h *Hub) Close() {
	h.engine.Close()
	h.logins.running.Wait()
	h.mu.Lock()
	all := slices.Collect(maps.Values(h.namespaces))
	h.mu.Unlock()
	for _, n := range all {
		n.history.end()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.namespaces {
		h.settle(n)
		n.deduper.clear()
	}
}

// namespace is the configuration for a namespace name, or nil.
func (c *Config) namespace(name string) *NamespaceConfig {
	for i := range c.Namespaces {
		if n := &c.Namespaces[i]; n.Pattern == nil && n.Name == name {
			return n
		}
	}
	for i := range c.Namespaces {
		if n := &c.Namespaces[i]; n.Pattern != nil && n.Pattern.MatchString(name) {
			return n
		}
	}
	return nil
}

// acquire returns the namespace called name, made on the spot if the
// configuration knows it; nil otherwise, or with busy when there are too many.
// The caller owes a release.
func (h *Hub) acquire(name []byte) (n *Namespace, busy bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n = h.namespaces[string(name)]; n == nil {
		c := h.config.Load()
		spec := c.namespace(string(name))
		if spec == nil {
			return nil, false
		}
		dynamic := spec.Pattern != nil
		if dynamic {
			if h.dynamic >= c.DynamicNamespaces && !h.forgetUnusedLocked() {
				return nil, true
			}
			h.dynamic++
		}
		n = newNamespace(h, string(name), dynamic, spec)
		h.namespaces[n.name] = n
	}
	n.refs++
	n.reuseLocked()
	return n, false
}

// unused is how long a namespace that exists because of a pattern outlives its
// last socket: whoever reconnects finds it as it was.
const unused = 30 * time.Second

// release undoes one acquire. A namespace that exists because of a pattern
// goes some time after its last socket, and at once if it never had one.
func (h *Hub) release(n *Namespace) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n.refs--
	switch {
	case n.refs > 0 || !n.dynamic || h.namespaces[n.name] != n:
	case n.inhabited.Load():
		n.unused = time.AfterFunc(unused, func() { h.insist("namespace", func() { h.expire(n) }) })
	default:
		h.dropLocked(n)
	}
}

// expire forgets a namespace that is still unused.
func (h *Hub) expire(n *Namespace) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n.refs == 0 && h.namespaces[n.name] == n {
		h.dropLocked(n)
	}
}

// forgetUnusedLocked makes room for a namespace; false if all are in use.
func (h *Hub) forgetUnusedLocked() bool {
	for _, n := range h.namespaces {
		if n.dynamic && n.refs == 0 {
			h.dropLocked(n)
			return true
		}
	}
	return false
}

// reuseLocked stops what expire would do.
func (n *Namespace) reuseLocked() {
	if n.unused != nil {
		n.unused.Stop()
		n.unused = nil
	}
}

// dropLocked forgets a namespace that nobody is in. Who might have come back to
// it is no member any more: the next of that name would not tell of them.
func (h *Hub) dropLocked(n *Namespace) {
	h.forgetLocked(n)
	h.settle(n)
}

func (h *Hub) forgetLocked(n *Namespace) {
	n.reuseLocked()
	delete(h.namespaces, n.name)
	n.deduper.clear()
	if n.refs == 0 { // else sockets are lost, whom close ends
		n.history.end()
	}
	if n.dynamic {
		h.dynamic--
	}
}

// Open makes the Hub an engine.Handler.
func (h *Hub) open(s *engine.Session, opening *Opening) *client {
	conf := h.config.Load()
	c := &client{hub: h, session: s, opening: opening}
	if s.Kind() == engine.PlainText {
		c.codec = plainJSON
	}
	c.decoder = codecs[c.codec].NewDecoder(parser.Limits{Attachments: conf.MaxAttachments, PacketBytes: conf.Engine.MaxPayload})
	if c.codec == plainJSON {
		c.openPlain()
	}
	return c
}

func (h *Hub) log() *slog.Logger { return h.config.Load().Logger }

// counters count since the Hub exists.
type counters struct {
	events                   atomic.Uint64
	unpublished, undelivered atomic.Uint64 // of the broker
	exhausted                budget.Counts
	recoveries               recoveryCounts
}

// Stats are figures of the moment.
type Stats struct {
	Engine     engine.Stats
	Namespaces []NamespaceStats  // by name
	Events     uint64            // events from clients so far
	Refused    uint64            // of these, and of CONNECTs, refused
	Refusals   []RefusalStats    // the same by event and code
	Recoveries map[string]uint64 // attempts to recover a socket, by what became of them
	Exhausted  map[string]uint64 // how often each limit said no, the engine's among them
	Panics     uint64            // recovered so far, beside the engine's
	// Emissions that the broker did not take, and those of other nodes that
	// could not be delivered because they were malformed.
	Unpublished, Undelivered uint64
}

// NamespaceStats are figures of one namespace.
type NamespaceStats struct {
	Name           string
	Sockets, Rooms int // rooms without those that belong to one socket or user
}

// Stats reports figures of the moment.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	all := slices.Collect(maps.Values(h.namespaces))
	h.mu.Unlock()
	st := Stats{
		Engine: h.engine.Stats(),
		Events: h.counts.events.Load(),
		Panics: h.panics.Count(),

		Recoveries: h.counts.recoveries.stats(),
		Exhausted:  map[string]uint64{},

		Unpublished: h.counts.unpublished.Load(),
		Undelivered: h.counts.undelivered.Load(),
	}
	st.Refusals, st.Refused = h.refusals.stats()
	h.counts.exhausted.Each(func(kind string, n uint64) { st.Exhausted[kind] = n + st.Engine.Exhausted[kind] })
	for _, n := range all {
		st.Namespaces = append(st.Namespaces, n.stats())
	}
	slices.SortFunc(st.Namespaces, func(a, b NamespaceStats) int { return strings.Compare(a.Name, b.Name) })
	return st
}
