package hub

import (
	"container/list"
	"sync"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/parser"
)

const (
	maxKey          = 256      // bytes of a key
	maxMemos        = 1000     // of a user
	maxMemoBytes    = 1 << 20  // of a user
	maxAllMemoBytes = 64 << 20 // of a namespace
	maxRepeats      = 64       // calls of a user that wait for others' answers
	maxRepeatBytes  = 1 << 20  // of their events

	sweepEvery = 10 * time.Second // how often answers that have expired are dropped
)

// memos are what a namespace knows of calls that are to run once. Beyond its
// limits it forgets the answers that are oldest, first those of the user who
// has too many.
type memos struct {
	holder // static
	mu     sync.Mutex
	owners map[owner]*ledger
	ended  list.List // of *memo, the oldest first
	bytes  int       // of all memos
	// A timer for all: one for each memo would cost as much as the memo, and
	// stopped ones stay in the runtime's heap for a while.
	sweeper *time.Timer // nil unless something has ended
}

// owner is who keys belong to: the user, or the socket of nobody.
type owner struct {
	anonymous bool
	id        string
}

// ledger is what belongs to one owner. It is guarded by memos.mu.
type ledger struct {
	owner       owner
	memos       map[memoKey]*memo
	ended       list.List // of *memo, the oldest first
	bytes       int
	repeats     int // calls that wait
	repeatBytes int
}

type memoKey struct{ event, key string }

// memo is a call that runs, or how it ended.
type memo struct {
	ledger *ledger
	key    memoKey
	ttl    time.Duration

	// Guarded by memos.mu.
	size       int
	waiting    []repeat
	expires    time.Time     // zero while the call runs
	inLedger   *list.Element // of ledger.ended
	inAllEnded *list.Element // of memos.ended

	// Owned by the call that runs, immutable when it has ended.
	answered bool
	answer   parser.Args
	ignored  bool
	refusal  *Refusal
}

// repeat is a call that waits for another to end.
type repeat struct {
	call *call
	run  func()
	size int
}

// Once runs the first call with a key, and repeats its answer to the others.
func (c *call) Once(key string, ttl time.Duration, run func()) *Refusal {
	switch {
	case len(key) > maxKey:
		return &Refusal{Code: Invalid, Message: "Key too long"}
	case c.memo != nil: // it is the first already
		run()
		return nil
	}
	m, ended, r := c.socket.ns.memos.enter(c, key, ttl, run)
	switch {
	case r != nil:
		return r
	case ended:
		c.repeat(m)
	case m != nil:
		c.memo = m
		run()
	}
	return nil // or it waits, and may have ended already
}

// enter finds what is known of the key. With a memo that has ended, its answer
// is to be repeated; with another, c is to run; without one, c waits.
func (ms *memos) enter(c *call, key string, ttl time.Duration, run func()) (m *memo, ended bool, r *Refusal) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	l := ms.ledgerLocked(c.socket)
	id := memoKey{event: string(c.packet.Name), key: key}
	m = l.memos[id]
	switch {
	case m == nil || m.expired(time.Now()):
		m, r = ms.addLocked(l, id, ttl)
		return m, false, r
	case m.hasEnded():
		return m, true, nil
	}
	size := c.size()
	if l.repeats >= maxRepeats || l.repeatBytes+size > maxRepeatBytes {
		return nil, false, &Refusal{Code: Busy, Message: "Too many events are waiting"}
	}
	if c.b = nil; !c.suspended { // before others see it; one that holds its lane goes on doing so
		c.Suspend(false)
	}
	l.repeats++
	l.repeatBytes += size
	m.waiting = append(m.waiting, repeat{c, run, size})
	ms.server.Hold(budget.Waiting, size+eventCost)
	return nil, false, nil
}

func (ms *memos) ledgerLocked(s *Socket) *ledger {
	o := s.owner()
	l := ms.owners[o]
	if l == nil {
		l = &ledger{owner: o, memos: map[memoKey]*memo{}}
		if ms.owners == nil {
			ms.owners = map[owner]*ledger{}
		}
		ms.owners[o] = l
	}
	return l
}

func (s *Socket) owner() owner {
	if id := s.UserID(); id != "" {
		return owner{id: id}
	}
	return owner{anonymous: true, id: s.id}
}

func (m *memo) hasEnded() bool             { return !m.expires.IsZero() }
func (m *memo) expired(now time.Time) bool { return m.hasEnded() && !now.Before(m.expires) }

// addLocked makes a memo of a call that runs, in the place of one that has
// expired.
func (ms *memos) addLocked(l *ledger, id memoKey, ttl time.Duration) (*memo, *Refusal) {
	if old := l.memos[id]; old != nil {
		ms.removeLocked(old)
	}
	m := &memo{ledger: l, key: id, ttl: ttl}
	l.memos[id] = m
	ms.growLocked(m, memoCost+len(id.event)+len(id.key))
	ms.trimLocked(l)
	if len(l.memos) > maxMemos || ms.bytes > maxAllMemoBytes {
		ms.removeLocked(m)
		ms.tidyLocked(l)
		return nil, &Refusal{Code: Limit, Message: "Too many keys"}
	}
	return m, nil
}

// growLocked changes the size of a memo.
func (ms *memos) growLocked(m *memo, bytes int) {
	m.size += bytes
	m.ledger.bytes += bytes
	ms.bytes += bytes
	ms.hold(bytes)
}

// trimLocked forgets what has ended until l and all are within their limits.
func (ms *memos) trimLocked(l *ledger) {
	for l.ended.Len() > 0 && (len(l.memos) > maxMemos || l.bytes > maxMemoBytes) {
		ms.dropLocked(l.ended.Front().Value.(*memo))
	}
	for ms.ended.Len() > 0 && ms.bytes > maxAllMemoBytes {
		ms.dropLocked(ms.ended.Front().Value.(*memo))
	}
}

// dropLocked forgets a memo, and its owner with the last one.
func (ms *memos) dropLocked(m *memo) {
	ms.removeLocked(m)
	ms.tidyLocked(m.ledger)
}

func (ms *memos) removeLocked(m *memo) {
	l := m.ledger
	delete(l.memos, m.key)
	ms.growLocked(m, -m.size)
	if m.hasEnded() {
		l.ended.Remove(m.inLedger)
		ms.ended.Remove(m.inAllEnded)
	}
}

func (ms *memos) tidyLocked(l *ledger) {
	if len(l.memos) > 0 {
		return
	}
	delete(ms.owners, l.owner)
	if len(ms.owners) == 0 {
		ms.owners = nil // maps do not shrink
	}
}

// repeat answers c as the call was answered whose memo m is.
func (c *call) repeat(m *memo) {
	switch {
	case m.answered:
		c.Ack(m.answer)
	case m.ignored:
		c.Ignore()
	}
	c.End(m.refusal)
}

// settle tells those that wait for c how it ended. c has been answered.
func (c *call) settle(r *Refusal) {
	m := c.memo
	c.memo = nil
	kept := m.answered || r == nil || !passing[r.Code] && !c.Expelled()
	waiting, next := c.socket.ns.settle(m, r, kept)
	if len(waiting) == 0 {
		return
	}
	c.batched(func(b *engine.Batch) {
		for _, w := range waiting {
			w.call.resume(b, func() {
				if next {
					w.call.memo = m
					w.run()
				} else {
					w.call.repeat(m)
				}
			})
		}
	})
}

// settle ends a memo and returns the calls that waited for it. If its answer is
// not kept, it is only the first of them, which is to run.
func (n *Namespace) settle(m *memo, r *Refusal, kept bool) (waiting []repeat, next bool) {
	ms := &n.memos
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if !kept {
		if len(m.waiting) == 0 {
			ms.dropLocked(m)
			return nil, false
		}
		waiting, m.waiting = m.waiting[:1:1], m.waiting[1:]
		next = true
	} else {
		waiting, m.waiting = m.waiting, nil
		n.keepLocked(m, r)
	}
	for _, w := range waiting {
		m.ledger.repeats--
		m.ledger.repeatBytes -= w.size
		ms.server.Hold(budget.Waiting, -w.size-eventCost)
	}
	return waiting, next
}

// passing are the refusals after which the same event may well succeed.
var passing = map[Code]bool{Busy: true, Timeout: true, UpstreamError: true, RateLimited: true, ProcessingError: true}

// keepLocked keeps how a call ended. An answer that is too large for its user
// is not kept, but that there was one.
func (n *Namespace) keepLocked(m *memo, r *Refusal) {
	ms, l := &n.memos, m.ledger
	if r != nil {
		m.refusal = &Refusal{Code: r.Code, Message: r.Message, Rule: r.Rule}
	}
	if m.size+m.answer.Len() > maxMemoBytes {
		m.answered, m.answer = false, parser.Args{}
		m.refusal = &Refusal{Code: TooLarge, Message: "The answer was too large to be kept"}
	}
	ms.growLocked(m, m.answer.Len())
	m.inLedger, m.inAllEnded = l.ended.PushBack(m), ms.ended.PushBack(m)
	m.expires = time.Now().Add(m.ttl)
	ms.trimLocked(l)
	if ms.sweeper == nil {
		n.sweepLaterLocked()
	}
}

func (n *Namespace) sweepLaterLocked() {
	n.memos.sweeper = time.AfterFunc(sweepEvery, func() { n.hub.insist("dedupe", n.sweep) })
}

// sweep drops the answers that have expired.
func (n *Namespace) sweep() {
	ms := &n.memos
	ms.mu.Lock()
	defer ms.mu.Unlock()
	now := time.Now()
	for e := ms.ended.Front(); e != nil; {
		m := e.Value.(*memo)
		if e = e.Next(); m.expired(now) {
			ms.dropLocked(m)
		}
	}
	if ms.sweeper = nil; ms.ended.Len() > 0 {
		n.sweepLaterLocked()
	}
}

// clear drops all answers, of a namespace that is gone.
func (ms *memos) clear() {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for ms.ended.Len() > 0 {
		ms.dropLocked(ms.ended.Front().Value.(*memo))
	}
}

// forget drops what belongs to an anonymous socket that has left: nobody can
// ask for it any more.
func (ms *memos) forget(s *Socket) {
	o := s.owner()
	if !o.anonymous {
		return
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for l := ms.owners[o]; l != nil && l.ended.Len() > 0; {
		ms.dropLocked(l.ended.Front().Value.(*memo))
	}
}
