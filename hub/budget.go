package hub

import (
	"errors"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
)

const overhead = 16 // bytes of a packet around its event and arguments, about

// Refusals of CONNECTs and connections. Only the first is final; after the others
// the client tries again.
var (
	errTooManyConnections = &Refusal{Code: Limit, Message: "Too many connections", Cause: errors.New("more than limits connections_per_user")}
	errBehind             = &Refusal{Code: Busy, Message: "Try again later", Cause: errors.New("what the socket has missed was forgotten while it connected")}
	errTooManyNamespaces  = &Refusal{Code: Limit, Message: "Too many namespaces", Cause: errors.New("a pattern names as many namespaces as there may be")}
	errTooManyConnects    = &Refusal{Code: Limit, Message: "Too many CONNECTs", Cause: errors.New("more than 20 CONNECTs a minute")}
)

// connects is how often a connection may CONNECT to namespaces.
var connects = budget.Rate{PerSecond: 20.0 / 60, Burst: 20}

// mayConnect takes one CONNECT packet.
func (c *client) mayConnect(b *engine.Batch) bool {
	if c.hub.config.Load().Engine.Rates[budget.Events].Off() || c.connects.Take(connects, 1, c.session.Now(b)) {
		return true
	}
	c.hub.counts.exhausted.Add(budget.Connects)
	return false
}

// spendLocked counts what it costs to send e, size bytes of arguments, and maybe to
// keep it, on behalf of from. n.mu is held.
func (n *Namespace) spendLocked(b *engine.Batch, from *Socket, e *Emission, size int, keep bool) {
	if from == nil || e.paid || n.hub.config.Load().Engine.Rates[budget.Fanout].Off() {
		return
	}
	receivers := n.receiversLocked(e)
	if n.hub.broker != nil {
		receivers++
	}
	if keep {
		receivers++
	}
	cost := (size + len(e.Event) + overhead) * receivers
	if r := from.recovery; from.ns == n && !from.joined && r != nil && r.lost.account != nil { // its connection has gone
		n.hub.engine.SpendOf(r.lost.account, budget.Fanout, cost)
		return
	}
	from.session().Spend(b, budget.Fanout, cost)
}

// spendAhead is spendLocked for what is sent later, or by a socket of another
// namespace.
func (n *Namespace) spendAhead(b *engine.Batch, from *Socket, e *Emission, size int) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	h := &n.history
	h.mu.Lock()
	keep := h.on() && h.keepsLocked(from, e)
	h.mu.Unlock()
	n.spendLocked(b, from, e, size, keep)
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
