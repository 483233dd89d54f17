package hub

import (
	"errors"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
)

const (
	shared    = 10 // connections' worth of allowance that a user, or an address of anonymous ones, has
	overdraft = 1  // bursts by which packets that cannot be refused may exceed the allowance
	overhead  = 16 // bytes of a packet around its event and arguments, about

	// Bytes of input that a refused packet counts for, beside its own: to
	// decode and refuse it takes as long as to read that much. So a flood is
	// read later, as too many bytes are.
	refusedCost = 4000
)

// Refusals of CONNECTs and connections. Only the first is final; after the others
// the client tries again.
var (
	errTooManyConnections = &Refusal{Code: Limit, Message: "Too many connections", Cause: errors.New("more than limits connections_per_user")}
	errBehind             = &Refusal{Code: Busy, Message: "Try again later", Cause: errors.New("what the socket has missed was forgotten while it connected")}
	errTooManyNamespaces  = &Refusal{Code: Limit, Message: "Too many namespaces", Cause: errors.New("a pattern names as many namespaces as there may be")}
	errTooManyPackets     = &Refusal{Code: RateLimited, Message: "Too many packets", Cause: errors.New("more than limits events, or than 20 CONNECTs a minute")}
)

// connects is how often a connection may CONNECT to namespaces.
var connects = budget.Rate{PerSecond: 20.0 / 60, Burst: 20}

// mayEvents takes n events from what the connection, and all that share its
// account, may send.
func (c *client) mayEvents(b *engine.Batch, n int) bool {
	return c.takeEvents(b, n, 0)
}

// mayPacket is mayEvents for a packet that cannot be refused: there is some
// patience before the connection ends.
func (c *client) mayPacket(b *engine.Batch) bool {
	return c.takeEvents(b, 1, overdraft)
}

func (c *client) takeEvents(b *engine.Batch, n int, overdraft float64) bool {
	r := c.hub.config.Load().Events
	if r.Off() {
		return true
	}
	now := c.session.Now(b)
	ok := c.events.TakeDown(r, n, overdraft, now)
	if a := c.session.Account(); ok && a != nil {
		ok = a.Events.TakeDown(r.Times(shared), n, overdraft, now)
	}
	if !ok {
		c.hub.counts.exhausted.Add(budget.Events)
		c.session.Charge(b, refusedCost)
	}
	return ok
}

// mayConnect takes one CONNECT packet.
func (c *client) mayConnect(b *engine.Batch) bool {
	if c.hub.config.Load().Events.Off() || c.connects.Take(connects, 1, c.session.Now(b)) {
		return true
	}
	c.hub.counts.exhausted.Add(budget.Connects)
	return false
}

// payLocked takes what it costs to send e, size bytes of arguments, and maybe to
// keep it, from what the connection of from, and all that share its account, may cause. A socket
// that has left is not refused its last words: the others would not hear that
// it left. n.mu is held.
func (n *Namespace) payLocked(b *engine.Batch, from *Socket, e *Emission, size int, keep bool) *Refusal {
	r := n.hub.config.Load().Fanout
	if r.Off() || from == nil || e.paid {
		return nil
	}
	receivers := n.receiversLocked(e)
	if n.hub.broker != nil {
		receivers++
	}
	if keep {
		receivers++
	}
	cost := (size + len(e.Event) + overhead) * receivers
	session := from.session()
	now, own, a := session.Now(b), &from.client().fanout, session.Account()
	if from.ns == n && !from.joined {
		if r := from.recovery; a == nil && r != nil {
			a = r.lost.account
		}
		own.Spend(r, cost, now)
		if a != nil {
			a.Fanout.Spend(r.Times(shared), cost, now)
		}
		return nil
	}
	if own.Take(r, cost, now) && (a == nil || a.Fanout.Take(r.Times(shared), cost, now)) {
		return nil
	}
	n.hub.counts.exhausted.Add(budget.Fanout)
	return &Refusal{Code: RateLimited, Message: "Too much to send"}
}

// payAhead is payLocked for what is sent later, or by a socket of another
// namespace.
func (n *Namespace) payAhead(b *engine.Batch, from *Socket, e *Emission, size int) *Refusal {
	n.mu.RLock()
	defer n.mu.RUnlock()
	h := &n.history
	h.mu.Lock()
	keep := h.on() && h.keepsLocked(from, e)
	h.mu.Unlock()
	return n.payLocked(b, from, e, size, keep)
}

// receiversLocked counts the sockets that e goes to: at most those, where
// rooms overlap or are excepted.
func (n *Namespace) receiversLocked(e *Emission) int {
	switch e.Scope {
	case ToSelf:
		return 1
	case ToAll:
		return len(n.all.members)
	}
	sum := 0
	for _, a := range e.To {
		if r := n.roomLocked(a); r != nil {
			sum += len(r.members)
		} else if n.socketLocked(a) != nil {
			sum++
		}
	}
	return min(sum, len(n.all.members))
}

// countUser makes the connection one of its user's, for whom it counts until
// it ends; false if there are too many. One that has not answered a ping gives
// way: a phone that lost its connection comes back with a new one.
func (c *client) countUser(ns *Namespace, who *auth.Identity) bool {
	if who == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.user != nil || c.closed {
		return !c.closed
	}
	h, now := c.hub, c.session.Now(nil)
	account := h.users.Hold(who.ID, h.config.Load().ConnectionsPerUser, now)
	if account == nil {
		if !ns.replaceSilent(who.ID) {
			h.counts.exhausted.Add(budget.ConnectionsPerUser)
			return false
		}
		account = h.users.Hold(who.ID, 0, now)
	}
	c.user = who
	c.session.Share(account)
	return true
}

// releaseUser has the connection, which is ending, not count for its user any
// more.
func (c *client) releaseUser() {
	c.mu.Lock()
	user := c.user
	c.user = nil
	c.mu.Unlock()
	if user != nil {
		c.hub.users.Release(user.ID, c.session.Now(nil))
	}
}

// mayUserLocked reports whether the user may have another connection in the
// namespace. One that has not answered a ping gives way.
func (n *Namespace) mayUserLocked(user string) bool {
	limit, r := n.spec.Load().ConnectionsPerUser, n.users[user]
	if limit == 0 || r == nil || len(r.members) < limit || n.replaceSilentLocked(user) {
		return true
	}
	n.hub.counts.exhausted.Add(budget.ConnectionsPerUser)
	return false
}

func (n *Namespace) replaceSilent(user string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.replaceSilentLocked(user)
}

// replaceSilentLocked ends one of the user's connections in the namespace that
// owes an answer to a ping, if there is one.
func (n *Namespace) replaceSilentLocked(user string) bool {
	r := n.users[user]
	if r == nil {
		return false
	}
	for i := range r.members {
		if m := &r.members[i]; m.session.Silent() {
			m.session.Close(engine.PingTimeout)
			return true
		}
	}
	return false
}
