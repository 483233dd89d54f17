// Package typing remembers which sockets are typing in which rooms, and what
// each room must still hear of that.
//
//	rules → hub → typing
//
// It is pure data: it knows no clock, no goroutine and no lock. Package hub
// calls it, sends the events and sets the timer.
package typing

import (
	"container/list"
	"strings"
	"time"
)

const (
	// Duration is how long a socket is typing after it said so.
	Duration = 5 * time.Second
	// RepeatInterval is the least time after which a room hears again that a
	// socket is still typing there.
	RepeatInterval = time.Second
)

// entryCost is what an entry takes in addition to its room's name, in bytes,
// about.
const entryCost = 250

// Table has an Entry for each socket S and room where the socket is typing, or
// where the room has not heard yet that it stopped. P is what a room is told of
// typing. The zero Table is not usable: see New. Its methods must not be called
// concurrently.
type Table[S comparable, P any] struct {
	hold    func(bytes int)
	entries map[place[S]]*Entry[S, P]
	typing  list.List // of *Entry, in the order in which they expire
}

type place[S comparable] struct {
	socket S
	room   string
}

// Entry is one socket in one room.
//
// One goroutine at a time announces an entry: the one that a method has told to
// calls Next and sends what that returns, until there is nothing left to send.
// Changes in the meantime are left to it. So a room hears changes in their order,
// although no lock is held while they are sent.
type Entry[S comparable, P any] struct {
	place[S]
	until      time.Time
	inTyping   *list.Element // nil: the socket is not typing
	announcing bool
	announced  bool      // the room has heard that the socket is typing
	at         time.Time // and when, last
	repeat     bool      // the room must hear it once more
	payload    P
}

// Socket is the socket that is typing.
func (e *Entry[S, P]) Socket() S { return e.socket }

// Room is where it is typing.
func (e *Entry[S, P]) Room() string { return e.room }

// New makes an empty Table. It calls hold with the bytes by which it has grown
// or, if negative, shrunk.
func New[S comparable, P any](hold func(bytes int)) *Table[S, P] {
	return &Table[S, P]{hold: hold, entries: map[place[S]]*Entry[S, P]{}}
}

// Len counts the entries.
func (t *Table[S, P]) Len() int { return len(t.entries) }

// Start notes that a socket is typing from now on. The caller must announce the
// entry if there is one. The room's name is copied, the payload is kept.
func (t *Table[S, P]) Start(socket S, room string, payload P, now time.Time) (announce *Entry[S, P]) {
	at := place[S]{socket, room}
	e := t.entries[at]
	if e == nil {
		at.room = strings.Clone(room)
		e = &Entry[S, P]{place: at}
		t.entries[at] = e
		t.hold(entryCost + len(room))
	}
	e.until = now.Add(Duration)
	if e.inTyping == nil {
		e.inTyping = t.typing.PushBack(e)
	} else {
		t.typing.MoveToBack(e.inTyping)
		e.repeat = e.repeat || now.Sub(e.at) >= RepeatInterval
		if !e.repeat {
			return nil
		}
	}
	e.payload = payload
	return e.announce()
}

// Stop notes that a socket is not typing any more. The caller must announce the
// entry if there is one.
func (t *Table[S, P]) Stop(socket S, room string) (announce *Entry[S, P]) {
	if e := t.entries[place[S]{socket, room}]; e != nil && e.inTyping != nil {
		return t.stop(e)
	}
	return nil
}

// Expire stops the sockets that have not said for Duration that they are typing.
// The caller must announce the entries.
func (t *Table[S, P]) Expire(now time.Time) (announce []*Entry[S, P]) {
	for {
		at, ok := t.NextExpiry()
		if !ok || at.After(now) {
			return announce
		}
		if e := t.stop(t.typing.Front().Value.(*Entry[S, P])); e != nil {
			announce = append(announce, e)
		}
	}
}

// NextExpiry is when the first socket expires; false if none is typing.
func (t *Table[S, P]) NextExpiry() (at time.Time, ok bool) {
	first := t.typing.Front()
	if first == nil {
		return time.Time{}, false
	}
	return first.Value.(*Entry[S, P]).until, true
}

func (t *Table[S, P]) stop(e *Entry[S, P]) (announce *Entry[S, P]) {
	t.typing.Remove(e.inTyping)
	e.inTyping, e.repeat = nil, false
	return e.announce()
}

// announce makes the caller the one that announces e, unless there is one.
func (e *Entry[S, P]) announce() *Entry[S, P] {
	if e.announcing {
		return nil
	}
	e.announcing = true
	return e
}

// Next is what the room of e must hear next: that the socket is typing, with the
// payload, or that it stopped. If ok is false, the room knows all, and the caller
// does not announce e any more.
func (t *Table[S, P]) Next(e *Entry[S, P], now time.Time) (typing bool, payload P, ok bool) {
	typing = e.inTyping != nil
	if e.announced == typing && !e.repeat {
		e.announcing = false
		e.payload = payload
		if !typing {
			delete(t.entries, e.place)
			t.hold(-entryCost - len(e.room))
		}
		return false, payload, false
	}
	e.announced, e.repeat, e.at = typing, false, now
	return typing, e.payload, true
}
