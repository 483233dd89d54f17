// Package recovery knows what sockets miss while their connections are lost: a
// Log keeps the events of a namespace, Memberships when a socket was in which
// room, and a Budget how much of both the process keeps, for whom.
//
// **recovery** → hub. It is data without time, timers and connections: the hub
// decides when something is kept, forgotten and sent.
package recovery

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strconv"
	"time"
)

// Payload is an event as it is sent, whatever that is.
type Payload interface{ Len() int }

// Event is an event that was sent to places of type A: rooms, users, everybody.
// It belongs to the Log that it was appended to.
type Event[A comparable, P Payload] struct {
	At      time.Time
	Payload P
	To      []A // each once
	Except  []A
}

// Log keeps the events that went to places of type A, in order. Each has an
// offset, a number that is larger than those before it. The zero value is an
// empty Log. It is not safe for concurrent use.
//
// What a Log forgets, it knows: Since never leaves out an event without saying
// so. Old events are forgotten by Trim. Where too much is kept, DropFor forgets
// the oldest events of the place that has most, which other places do not
// notice.
type Log[A comparable, P Payload] struct {
	incarnation string
	last        uint64 // offset of the last event; 0: there was none
	lastAt      time.Time
	events      []logged[A, P]
	dead        int // events among them that are forgotten
	places      map[A]*place
	bytes       int

	floor   uint64    // events up to this offset are forgotten, wherever they went
	floorAt time.Time // and were not sent later
}

// logged is an event in a Log. It is forgotten if its size is 0.
type logged[A comparable, P Payload] struct {
	Event[A, P]
	offset uint64
	size   int
}

// place is what a Log keeps of one place. Offsets of forgotten events may be in
// it.
type place struct {
	offsets []uint64
	bytes   int
	floor   uint64 // the last event of the place that is forgotten, if above Log.floor
}

// What an event takes in addition to its payload, and for each place that it
// names in addition to the name; in bytes, about.
const (
	EventCost  = 250
	TargetCost = 60
	placeCost  = 150 // a place of which something is or was kept
)

// incarnationLength is how many characters of 6 bits begin an offset's text.
const incarnationLength = 8

// Restart forgets everything. Offsets that clients have from before are unknown
// from now on.
func (l *Log[A, P]) Restart() { *l = Log[A, P]{} }

// Last is the offset of the last event.
func (l *Log[A, P]) Last() uint64 { return l.last }

// Floor is the offset up to which everything is forgotten.
func (l *Log[A, P]) Floor() uint64 { return l.floor }

// Bytes is what the Log takes, about.
func (l *Log[A, P]) Bytes() int { return l.bytes }

// Empty reports whether no event is kept.
func (l *Log[A, P]) Empty() bool { return len(l.events) == l.dead }

// AppendOffset appends the text of an offset of this Log, without characters
// that JSON escapes. Another Log, or this one after Restart, does not take it
// for its own.
func (l *Log[A, P]) AppendOffset(dst []byte, offset uint64) []byte {
	if l.incarnation == "" {
		var random [incarnationLength * 6 / 8]byte
		rand.Read(random[:]) // never fails (crypto/rand)
		l.incarnation = base64.RawURLEncoding.EncodeToString(random[:])
	}
	return strconv.AppendUint(append(dst, l.incarnation...), offset, 36)
}

// ParseOffset reads what AppendOffset wrote; false if that was another Log.
func (l *Log[A, P]) ParseOffset(text string) (offset uint64, ok bool) {
	if len(text) <= incarnationLength || text[:incarnationLength] != l.incarnation {
		return 0, false
	}
	offset, err := strconv.ParseUint(text[incarnationLength:], 36, 64)
	return offset, err == nil && offset <= l.last
}

// Next is the offset that the next event gets.
func (l *Log[A, P]) Next() uint64 { return l.last + 1 }

// Append adds an event, which was sent after those before it. size is what its
// places' names take.
func (l *Log[A, P]) Append(e Event[A, P], size int) {
	if l.places == nil {
		l.places = map[A]*place{}
	}
	l.last, l.lastAt = l.last+1, e.At
	size += EventCost + TargetCost*(len(e.To)+len(e.Except)) + e.Payload.Len()
	l.events = append(l.events, logged[A, P]{e, l.last, size})
	for _, a := range e.To {
		p := l.places[a]
		if p == nil {
			p = &place{}
			l.places[a] = p
			l.bytes += placeCost
		}
		p.offsets = append(p.offsets, l.last)
		p.bytes += size
	}
	l.bytes += size
}

// Trim forgets the events that were not sent after oldest.
func (l *Log[A, P]) Trim(oldest time.Time) {
	for len(l.events) > 0 && !l.events[0].At.After(oldest) {
		l.dropFirst()
	}
}

// Tidy lets go of what is only known of places whose events were forgotten long
// ago. It takes a time that depends on the number of places.
func (l *Log[A, P]) Tidy() {
	for a := range l.places {
		l.tidy(a)
	}
}

// dropFirst forgets the oldest event, unless it is forgotten, and all that was
// kept for its sake.
func (l *Log[A, P]) dropFirst() {
	e := &l.events[0]
	l.floor, l.floorAt = e.offset, e.At
	if e.size == 0 {
		l.dead--
	} else {
		l.take(e)
	}
	for _, a := range e.To {
		l.tidy(a)
	}
	*e = logged[A, P]{}
	if l.events = l.events[1:]; len(l.events) == 0 {
		l.floor, l.floorAt = l.last, l.lastAt
		l.events, l.places, l.bytes = nil, nil, 0
	}
}

// take takes an event out of all sums.
func (l *Log[A, P]) take(e *logged[A, P]) {
	for _, a := range e.To {
		l.places[a].bytes -= e.size
	}
	l.bytes -= e.size
	e.size = 0
}

// tidy lets go of what a place no longer needs.
func (l *Log[A, P]) tidy(a A) {
	p := l.places[a]
	if p == nil {
		return
	}
	for len(p.offsets) > 0 && p.offsets[0] <= max(l.floor, p.floor) {
		p.offsets = p.offsets[1:]
	}
	if len(p.offsets) == 0 {
		p.offsets = nil
		if p.floor <= l.floor {
			delete(l.places, a)
			l.bytes -= placeCost
		}
	}
}

// DropFor forgets one event to make room for those that go to the places of to:
// the oldest of the one of them that takes most, if that is more than an equal
// share, else the oldest of all.
func (l *Log[A, P]) DropFor(to []A) {
	var most *place
	for _, a := range to {
		if p := l.places[a]; p != nil && (most == nil || p.bytes > most.bytes) {
			most = p
		}
	}
	if most == nil || most.bytes*len(l.places) <= l.bytes || !l.dropOldestOf(most) {
		for dropped := false; len(l.events) > 0 && !dropped; {
			dropped = l.events[0].size > 0
			l.dropFirst()
		}
	}
}

// dropOldestOf forgets the oldest event of a place; false if it has none.
func (l *Log[A, P]) dropOldestOf(p *place) bool {
	var e *logged[A, P]
	for e == nil && len(p.offsets) > 0 {
		e = l.find(p.offsets[0])
		p.offsets = p.offsets[1:]
	}
	if e == nil {
		return false
	}
	l.take(e)
	l.dead++
	for _, a := range e.To {
		l.places[a].floor = max(l.places[a].floor, e.offset)
		l.tidy(a)
	}
	e.Event = Event[A, P]{At: e.At, To: e.To} // dropFirst tidies its places
	if l.dead > len(l.events)/2 {
		l.compact()
	}
	return true
}

// compact lets go of forgotten events.
func (l *Log[A, P]) compact() {
	l.events = slices.DeleteFunc(l.events, func(e logged[A, P]) bool { return e.size == 0 })
	l.dead = 0
	if cap(l.events) > 64 && len(l.events) < cap(l.events)/4 {
		l.events = slices.Clone(l.events)
	}
}

// find returns the event of an offset; nil if it is forgotten.
func (l *Log[A, P]) find(offset uint64) *logged[A, P] {
	i, ok := slices.BinarySearchFunc(l.events, offset, func(e logged[A, P], offset uint64) int {
		return int(int64(e.offset - offset))
	})
	if !ok || l.events[i].size == 0 {
		return nil
	}
	return &l.events[i]
}

// Before is an offset up to which all events were sent before t: the largest
// that is known to be one.
func (l *Log[A, P]) Before(t time.Time) uint64 {
	n, _ := slices.BinarySearchFunc(l.events, t, func(e logged[A, P], t time.Time) int { return e.At.Compare(t) })
	switch {
	case n > 0:
		return l.events[n-1].offset
	case l.floorAt.Before(t):
		return l.floor
	}
	return 0
}

// Viewer is a socket, as a Log sees it.
type Viewer[A comparable] struct {
	Own   []A // where it always was
	Rooms *Memberships[A]
}

func (v *Viewer[A]) wasIn(a A, offset uint64) bool {
	return slices.Contains(v.Own, a) || v.Rooms.wasMember(a, offset)
}

// Since lists what was sent to a socket after the event of an offset, in order.
// It is false if some of that is forgotten, or if all takes more than most, of
// which each event takes cost in addition to its payload. What that takes does
// not depend on how much else was sent.
func (l *Log[A, P]) Since(offset uint64, v Viewer[A], most, cost int) (missed []P, ok bool) {
	if offset < max(l.floor, v.Rooms.known) || offset > l.last {
		return nil, false
	}
	offsets, ok := l.sentTo(offset, v, most/cost)
	if !ok {
		return nil, false
	}
	for _, offset := range offsets {
		e := l.find(offset)
		if e == nil || slices.ContainsFunc(e.Except, func(a A) bool { return v.wasIn(a, offset) }) {
			continue
		}
		missed = append(missed, e.Payload)
		if most -= e.Payload.Len() + cost; most < 0 {
			return nil, false
		}
	}
	return missed, true
}

// sentTo lists the offsets after the given one of what went to where v was;
// false if there are more than most, or some are forgotten.
func (l *Log[A, P]) sentTo(offset uint64, v Viewer[A], most int) (all []uint64, ok bool) {
	add := func(a A, after, to uint64) bool {
		after = max(after, offset)
		p := l.places[a]
		if p == nil || after >= to {
			return true
		}
		if after < p.floor {
			return false
		}
		first, _ := slices.BinarySearch(p.offsets, after+1)
		end := len(p.offsets)
		if to < l.last {
			end, _ = slices.BinarySearch(p.offsets, to+1)
		}
		all = append(all, p.offsets[first:min(end, first+most+1)]...)
		if len(all) > most { // some may have gone to two places
			slices.Sort(all)
			all = slices.Compact(all)
		}
		return len(all) <= most
	}
	for _, a := range v.Own {
		if !add(a, 0, still) {
			return nil, false
		}
	}
	for _, m := range v.Rooms.list {
		if !m.revoked && !add(m.room, m.from, m.to) {
			return nil, false
		}
	}
	slices.Sort(all)
	return slices.Compact(all), true
}
