package typing_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/typing"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type (
	table = typing.Table[string, string]
	entry = typing.Entry[string, string]
)

// newTable counts in held what the table holds.
func newTable() (t *table, held *int) {
	held = new(int)
	return typing.New[string, string](func(n int) { *held += n }), held
}

// heard announces an entry and returns what its room hears.
func heard(t *table, e *entry, now time.Time) (all []string) {
	for e != nil {
		typing, payload, ok := t.Next(e, now)
		if !ok {
			break
		}
		if typing {
			all = append(all, "starts "+payload)
		} else {
			all = append(all, "stops")
		}
	}
	return all
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: the room hears %q, want %q", what, got, want)
	}
}

func TestRoomHearsOnceThatTypingStartsAndStops(t *testing.T) {
	d, held := newTable()
	expect(t, "the first start", heard(d, d.Start("ann", "r", "1", start), start), "starts 1")
	expect(t, "a start just after", heard(d, d.Start("ann", "r", "2", start.Add(time.Second-1)), start))
	expect(t, "a stop", heard(d, d.Stop("ann", "r"), start), "stops")
	expect(t, "another stop", heard(d, d.Stop("ann", "r"), start))
	if d.Len() != 0 || *held != 0 {
		t.Errorf("%d entries and %d bytes are left", d.Len(), *held)
	}
	expect(t, "a new start", heard(d, d.Start("ann", "r", "3", start), start), "starts 3")
}

func TestRoomHearsAgainThatASocketIsStillTyping(t *testing.T) {
	d, _ := newTable()
	now := start
	heard(d, d.Start("ann", "r", "", now), now)
	repeats := 0
	for range 100 { // for 10 s
		now = now.Add(100 * time.Millisecond)
		repeats += len(heard(d, d.Start("ann", "r", "", now), now))
	}
	if repeats != 10 {
		t.Errorf("repeated %d times in 10 s", repeats)
	}
}

func TestTypingExpiresInOrder(t *testing.T) {
	d, _ := newTable()
	if _, ok := d.NextExpiry(); ok {
		t.Error("something expires in an empty table")
	}
	for i, s := range []string{"ann", "bob", "eve"} {
		now := start.Add(time.Duration(i) * time.Second)
		heard(d, d.Start(s, "r", "", now), now)
	}
	d.Start("ann", "r", "", start.Add(2*time.Second)) // last now
	if at, _ := d.NextExpiry(); !at.Equal(start.Add(time.Second + typing.Duration)) {
		t.Errorf("the first expires at %v", at)
	}
	if early := d.Expire(start.Add(time.Second + typing.Duration - 1)); len(early) != 0 {
		t.Errorf("%v expired early", early)
	}
	expired := d.Expire(start.Add(2*time.Second + typing.Duration))
	var sockets []string
	for _, e := range expired {
		sockets = append(sockets, e.Socket()+" in "+e.Room())
		heard(d, e, start)
	}
	// Another goroutine announces ann, who started again.
	if !slices.Equal(sockets, []string{"bob in r", "eve in r"}) {
		t.Errorf("%q are to be announced", sockets)
	}
}

func TestChangesDuringAnAnnouncementAreLeftToIt(t *testing.T) {
	d, held := newTable()
	e := d.Start("ann", "r", "1", start)
	d.Next(e, start) // and while that is being sent:
	for _, other := range []*entry{d.Stop("ann", "r"), d.Start("ann", "r", "2", start), d.Stop("ann", "r")} {
		if other != nil {
			t.Error("two announce the same")
		}
	}
	expect(t, "then", heard(d, e, start), "stops")
	e = d.Start("ann", "r", "1", start)
	d.Stop("ann", "r")
	expect(t, "an end before the beginning was sent", heard(d, e, start))
	if *held != 0 {
		t.Errorf("%d bytes are left", *held)
	}
}

// TestRoomsKnowWhoIsTyping runs random changes, whose announcements overlap, and
// compares what each room has heard last with a naive list of who is typing.
func TestRoomsKnowWhoIsTyping(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		d, held := newTable()
		until := map[[2]string]time.Time{} // who is typing where
		known := map[[2]string]bool{}      // what the rooms have heard last
		var announcing []*entry
		now := start
		add := func(e *entry) {
			if e != nil {
				announcing = append(announcing, e)
			}
		}
		step := func(i int) {
			e := announcing[i]
			typing, _, ok := d.Next(e, now)
			at := [2]string{e.Socket(), e.Room()}
			switch {
			case !ok:
				announcing = slices.Delete(announcing, i, i+1)
			case !typing && !known[at]:
				t.Fatalf("seed %d: %v stops twice", seed, at)
			default:
				known[at] = typing
			}
		}
		for range 2000 {
			now = now.Add(time.Duration(rnd.IntN(400)) * time.Millisecond)
			at := [2]string{fmt.Sprint("s", rnd.IntN(3)), fmt.Sprint("r", rnd.IntN(3))}
			switch rnd.IntN(5) {
			case 0, 1:
				add(d.Start(at[0], at[1], "", now))
				until[at] = now.Add(typing.Duration)
			case 2:
				add(d.Stop(at[0], at[1]))
				delete(until, at)
			case 3:
				for _, e := range d.Expire(now) {
					add(e)
				}
				for at, end := range until {
					if !end.After(now) {
						delete(until, at)
					}
				}
			case 4:
				if len(announcing) > 0 {
					step(rnd.IntN(len(announcing)))
				}
			}
		}
		for len(announcing) > 0 {
			step(0)
		}
		for at, is := range known {
			if _, want := until[at]; is != want {
				t.Errorf("seed %d: the room has heard that %v is typing: %v", seed, at, is)
			}
		}
		for at := range until {
			if !known[at] {
				t.Errorf("seed %d: the room has not heard that %v is typing", seed, at)
			}
			heard(d, d.Stop(at[0], at[1]), now)
		}
		if d.Len() != 0 || *held != 0 {
			t.Errorf("seed %d: %d entries and %d bytes are left", seed, d.Len(), *held)
		}
	}
}
