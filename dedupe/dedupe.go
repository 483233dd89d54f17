// Package dedupe remembers which requests have run and how they ended, so that
// a client may send a request again when it got no answer.
//
//	rules → hub → dedupe
//
// It is pure data: it knows no clock, no goroutine and no lock. Package hub
// calls it and does what must be done with the requests that wait.
package dedupe

import (
	"container/list"
	"errors"
	"time"
)

// Limits bound a Table.
type Limits struct {
	Key         int // bytes of a key
	Entries     int // of an owner
	Bytes       int // of an owner's entries, answers among them
	TotalBytes  int // of all entries
	Waiters     int // requests of an owner that wait for another to end
	WaiterBytes int // of these requests
}

// DefaultLimits are those of a namespace.
var DefaultLimits = Limits{
	Key:     256,
	Entries: 1000, Bytes: 1 << 20, TotalBytes: 64 << 20,
	Waiters: 64, WaiterBytes: 1 << 20,
}

// entryCost is what an entry takes in addition to its texts and answer, in
// bytes, about.
const entryCost = 400

var (
	// ErrKey is returned for a key that is too long.
	ErrKey = errors.New("key too long")
	// ErrEntries is returned if a key finds no place, because the owner has too
	// many requests at work.
	ErrEntries = errors.New("too many keys")
	// ErrWaiters is returned if too many requests of the owner wait.
	ErrWaiters = errors.New("too many requests wait")
)

// Owner is the user whose requests are deduplicated or, if there is none, the
// socket.
type Owner struct{ User, Socket string }

// Key tells requests apart. Event is the event's name and Name what the client
// calls this request of it.
type Key struct {
	Owner       Owner
	Event, Name string
}

// Table has one Entry for each key. W is a request that waits, A an answer. The
// zero Table is not usable: see New.
//
// Beyond its limits a Table drops the oldest answers, first those of the owner
// that has too many. Its methods must not be called concurrently.
type Table[W, A any] struct {
	limits Limits
	hold   func(bytes int)
	owners map[Owner]*owner[W, A]
	ended  list.List // of *Entry, in the order in which they ended
	bytes  int
}

// New makes an empty Table. It calls hold with the bytes by which it has grown
// or, if negative, shrunk.
func New[W, A any](limits Limits, hold func(bytes int)) *Table[W, A] {
	return &Table[W, A]{limits: limits, hold: hold}
}

type owner[W, A any] struct {
	id          Owner
	entries     map[request]*Entry[W, A]
	ended       list.List // of *Entry, in the order in which they ended
	bytes       int
	waiters     int
	waiterBytes int
}

type request struct{ event, name string }

// Entry is a request that runs, or the answer of one that has ended.
type Entry[W, A any] struct {
	owner   *owner[W, A]
	request request
	ttl     time.Duration
	size    int

	waiters []waiter[W] // of a request that runs

	// Of a request that has ended.
	answer     A
	expires    time.Time     // zero while it runs
	inOwner    *list.Element // of owner.ended
	inAllEnded *list.Element // of Table.ended
}

type waiter[W any] struct {
	request W
	bytes   int
}

// Running reports whether the request runs.
func (e *Entry[W, A]) Running() bool { return e.expires.IsZero() }

// Answer is how the request ended.
func (e *Entry[W, A]) Answer() A { return e.answer }

// Begin returns the entry of a key. If first is true, the caller runs the
// request and then calls Finish or Abandon once. Otherwise the request runs
// already and the caller may Wait, or it has ended and Answer is its answer.
// Answers are kept for ttl. The texts of the key are kept, too.
func (t *Table[W, A]) Begin(key Key, ttl time.Duration, now time.Time) (e *Entry[W, A], first bool, err error) {
	if len(key.Name) > t.limits.Key {
		return nil, false, ErrKey
	}
	o := t.owner(key.Owner)
	r := request{key.Event, key.Name}
	if e := o.entries[r]; e != nil {
		if e.Running() || now.Before(e.expires) {
			return e, false, nil
		}
		t.remove(e)
	}
	e = &Entry[W, A]{owner: o, request: r, ttl: ttl}
	o.entries[r] = e
	t.grow(e, entryCost+len(r.event)+len(r.name))
	t.trim(o)
	if len(o.entries) > t.limits.Entries || t.bytes > t.limits.TotalBytes {
		t.drop(e)
		return nil, false, ErrEntries
	}
	return e, true, nil
}

// Wait adds a request of that many bytes to those that wait for e, which runs.
func (t *Table[W, A]) Wait(e *Entry[W, A], w W, bytes int) error {
	o := e.owner
	if o.waiters >= t.limits.Waiters || o.waiterBytes+bytes > t.limits.WaiterBytes {
		return ErrWaiters
	}
	o.waiters++
	o.waiterBytes += bytes
	e.waiters = append(e.waiters, waiter[W]{w, bytes})
	return nil
}

// Fits reports whether an answer of that many bytes may be kept.
func (t *Table[W, A]) Fits(e *Entry[W, A], bytes int) bool {
	return e.size+bytes <= t.limits.Bytes
}

// Finish ends the request with an answer of that many bytes, and returns the
// requests that have waited for it, in order.
func (t *Table[W, A]) Finish(e *Entry[W, A], answer A, bytes int, now time.Time) []W {
	waited := make([]W, 0, len(e.waiters))
	for len(e.waiters) > 0 {
		waited = append(waited, e.next())
	}
	e.waiters, e.answer, e.expires = nil, answer, now.Add(e.ttl)
	e.inOwner, e.inAllEnded = e.owner.ended.PushBack(e), t.ended.PushBack(e)
	t.grow(e, bytes)
	t.trim(e.owner)
	return waited
}

// Abandon ends the request without an answer. The first request that waits, if
// there is one, runs in its place: it calls Finish or Abandon for the same
// entry.
func (t *Table[W, A]) Abandon(e *Entry[W, A]) (next W, ok bool) {
	if len(e.waiters) == 0 {
		t.drop(e)
		return next, false
	}
	return e.next(), true
}

// next takes out the request that has waited longest.
func (e *Entry[W, A]) next() W {
	w := e.waiters[0]
	e.waiters[0] = waiter[W]{}
	e.waiters = e.waiters[1:]
	e.owner.waiters--
	e.owner.waiterBytes -= w.bytes
	return w.request
}

// Expire drops the answers whose time is over. Entries whose ttl is shorter may
// lie behind others, so it looks at all.
func (t *Table[W, A]) Expire(now time.Time) {
	for el := t.ended.Front(); el != nil; {
		e := el.Value.(*Entry[W, A])
		if el = el.Next(); !now.Before(e.expires) {
			t.drop(e)
		}
	}
}

// Shed drops the oldest answers, until that many bytes are free or none is left.
func (t *Table[W, A]) Shed(bytes int) {
	for enough := t.bytes - bytes; t.bytes > enough && t.ended.Len() > 0; {
		t.drop(t.ended.Front().Value.(*Entry[W, A]))
	}
}

// Bytes is what all entries hold.
func (t *Table[W, A]) Bytes() int { return t.bytes }

// Forget drops an owner's answers.
func (t *Table[W, A]) Forget(id Owner) {
	if o := t.owners[id]; o != nil {
		t.dropEnded(&o.ended)
	}
}

// Clear drops all answers.
func (t *Table[W, A]) Clear() { t.dropEnded(&t.ended) }

func (t *Table[W, A]) dropEnded(ended *list.List) {
	for ended.Len() > 0 {
		t.drop(ended.Front().Value.(*Entry[W, A]))
	}
}

// Answers counts the answers that are kept.
func (t *Table[W, A]) Answers() int { return t.ended.Len() }

func (t *Table[W, A]) owner(id Owner) *owner[W, A] {
	o := t.owners[id]
	if o == nil {
		o = &owner[W, A]{id: id, entries: map[request]*Entry[W, A]{}}
		if t.owners == nil {
			t.owners = map[Owner]*owner[W, A]{}
		}
		t.owners[id] = o
	}
	return o
}

func (t *Table[W, A]) grow(e *Entry[W, A], bytes int) {
	e.size += bytes
	e.owner.bytes += bytes
	t.bytes += bytes
	t.hold(bytes)
}

// trim drops answers until o and the whole table are within their limits.
func (t *Table[W, A]) trim(o *owner[W, A]) {
	for o.ended.Len() > 0 && (len(o.entries) > t.limits.Entries || o.bytes > t.limits.Bytes) {
		t.drop(o.ended.Front().Value.(*Entry[W, A]))
	}
	for t.ended.Len() > 0 && t.bytes > t.limits.TotalBytes {
		t.drop(t.ended.Front().Value.(*Entry[W, A]))
	}
}

// drop forgets an entry, and its owner with the last one.
func (t *Table[W, A]) drop(e *Entry[W, A]) {
	t.remove(e)
	if len(e.owner.entries) > 0 {
		return
	}
	delete(t.owners, e.owner.id)
	if len(t.owners) == 0 {
		t.owners = nil // a map does not shrink
	}
}

func (t *Table[W, A]) remove(e *Entry[W, A]) {
	delete(e.owner.entries, e.request)
	t.grow(e, -e.size)
	if !e.Running() {
		e.owner.ended.Remove(e.inOwner)
		t.ended.Remove(e.inAllEnded)
	}
}
