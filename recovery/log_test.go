package recovery_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/recovery"
)

type text string

func (t text) Len() int { return len(t) }

// sent is an event as the model knows it.
type sent struct {
	offset     uint64
	at         time.Time
	text       text
	to, except []string
}

// socket is a viewer, with what the model knows of it.
type socket struct {
	own   string
	rooms recovery.Memberships[string]
	was   []map[string]bool // where it was, by offset
}

func (s *socket) in(room string, offset uint64) bool {
	return room == s.own || room == "all" || offset < uint64(len(s.was)) && s.was[offset][room]
}

// A Log says what a socket has missed, or that it does not know; without a lack
// of memory it knows.
func TestLogAgreesWithTheModel(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			walkLog(t, rand.New(rand.NewPCG(seed, 0)), seed%3 != 0)
		})
	}
}

func walkLog(t *testing.T, dice *rand.Rand, forgets bool) {
	var l recovery.Log[string, text]
	now := time.Unix(0, 0)
	history := []sent{{}}
	var sockets []*socket
	for i := range 5 {
		sockets = append(sockets, &socket{own: fmt.Sprint("own", i), was: []map[string]bool{{}}})
	}
	rooms := []string{"a", "b", "c", "d"}
	pick := func() string {
		if n := dice.IntN(12); n < len(rooms) {
			return rooms[n]
		} else if n == len(rooms) {
			return sockets[dice.IntN(len(sockets))].own
		} else if n == len(rooms)+1 {
			return "all"
		}
		return "a"
	}
	joined := make([]map[string]bool, len(sockets))
	for i := range joined {
		joined[i] = map[string]bool{}
	}
	for range 2000 {
		now = now.Add(time.Duration(dice.IntN(100)) * time.Millisecond)
		switch i := dice.IntN(len(sockets)); dice.IntN(8) {
		case 0:
			room := rooms[dice.IntN(len(rooms))]
			sockets[i].rooms.Join(room, l.Last(), false)
			joined[i][room] = true
		case 1:
			room := rooms[dice.IntN(len(rooms))]
			sockets[i].rooms.Leave(room, l.Last(), l.Floor())
			delete(joined[i], room)
		case 2:
			l.Trim(now.Add(-10 * time.Second))
			l.Tidy()
		case 3:
			if forgets {
				for limit := 3000 + dice.IntN(20_000); l.Bytes() > limit && !l.Empty(); {
					l.DropFor([]string{pick()})
				}
			}
		default:
			e := sent{offset: l.Next(), at: now, text: text(strings.Repeat("x", dice.IntN(50))), to: []string{pick()}}
			if other := pick(); dice.IntN(4) == 0 && other != e.to[0] {
				e.to = append(e.to, other)
			}
			if dice.IntN(4) == 0 {
				e.except = []string{pick()}
			}
			l.Append(recovery.Event[string, text]{At: now, Payload: e.text, To: e.to, Except: e.except}, 0)
			history = append(history, e)
			for i, s := range sockets {
				was := map[string]bool{}
				for room := range joined[i] {
					was[room] = true
				}
				s.was = append(s.was, was)
			}
		}
		compare(t, &l, history, sockets[dice.IntN(len(sockets))], dice, now, forgets)
		before := l.Before(now.Add(-5 * time.Second))
		for _, e := range history[1 : before+1] {
			if !e.at.Before(now.Add(-5 * time.Second)) {
				t.Fatalf("%d was not sent before", e.offset)
			}
		}
	}
	l.Trim(now)
	if !l.Empty() || l.Bytes() != 0 {
		t.Errorf("%d bytes are left", l.Bytes())
	}
}

func compare(t *testing.T, l *recovery.Log[string, text], history []sent, s *socket, dice *rand.Rand, now time.Time, forgets bool) {
	t.Helper()
	from := uint64(max(0, len(history)-1-dice.IntN(150)))
	missed, ok := l.Since(from, recovery.Viewer[string]{Own: []string{"all", s.own}, Rooms: &s.rooms}, 1<<20, 100)
	if !ok {
		if !forgets && from >= l.Floor() {
			t.Fatalf("what was missed after %d is not known", from)
		}
		return
	}
	var want []text
	for _, e := range history[from+1:] {
		in := func(room string) bool { return s.in(room, e.offset) }
		if slices.ContainsFunc(e.to, in) && !slices.ContainsFunc(e.except, in) {
			want = append(want, e.text)
		}
	}
	if !slices.Equal(missed, want) {
		t.Fatalf("after %d: %d events, want %d", from, len(missed), len(want))
	}
}

func TestOffsetBelongsToItsLog(t *testing.T) {
	var l, other recovery.Log[string, text]
	for range 40 {
		l.Append(recovery.Event[string, text]{Payload: "x", To: []string{"a"}}, 1)
		other.Append(recovery.Event[string, text]{Payload: "x", To: []string{"a"}}, 1)
	}
	offset := string(l.AppendOffset(nil, 37))
	if got, ok := l.ParseOffset(offset); !ok || got != 37 || len(offset) > 12 {
		t.Errorf("%q is %d, %v", offset, got, ok)
	}
	if _, ok := other.ParseOffset(offset); ok {
		t.Error("another log takes it for its own")
	}
	for _, bad := range []string{"", "1", offset[:8], offset[:8] + "-1", offset[:8] + "15", offset + "zzzzzzzzzzzzzzzzzzz"} {
		if got, ok := l.ParseOffset(bad); ok {
			t.Errorf("%q is %d", bad, got)
		}
	}
	l.Restart()
	l.AppendOffset(nil, 1)
	for range 40 {
		l.Append(recovery.Event[string, text]{Payload: "x", To: []string{"a"}}, 1)
	}
	if _, ok := l.ParseOffset(offset); ok {
		t.Error("an offset from before Restart is known")
	}
}

// A place that is flooded forgets its own events, and what is known of places is
// not kept for ever.
func TestFloodedPlaceForgetsItsOwnEvents(t *testing.T) {
	var l recovery.Log[string, text]
	now := time.Unix(0, 0)
	add := func(to string) {
		now = now.Add(time.Millisecond)
		l.Append(recovery.Event[string, text]{At: now, Payload: text(strings.Repeat("x", 100)), To: []string{to}}, 1)
		for l.Bytes() > 50_000 {
			l.DropFor([]string{to})
		}
	}
	var quiet, loud recovery.Memberships[string]
	quiet.Join("quiet", 0, false)
	loud.Join("loud", 0, false)
	add("quiet")
	for range 5000 {
		add("loud")
	}
	if missed, ok := l.Since(0, recovery.Viewer[string]{Rooms: &quiet}, 1000, 1); !ok || len(missed) != 1 {
		t.Errorf("the quiet room lost its event: %d, %v", len(missed), ok)
	}
	if _, ok := l.Since(0, recovery.Viewer[string]{Rooms: &loud}, 1<<20, 1); ok {
		t.Error("the loud room knows everything")
	}
	for i := range 5000 {
		add(fmt.Sprint("room", i%1000))
	}
	l.Trim(now.Add(-time.Millisecond))
	l.Tidy()
	if l.Bytes() > 1000 {
		t.Errorf("%d bytes are left", l.Bytes())
	}
}

// What a socket missed is limited by count and by bytes.
func TestSinceIsBounded(t *testing.T) {
	var l recovery.Log[string, text]
	for range 100 {
		l.Append(recovery.Event[string, text]{Payload: "0123456789", To: []string{"a", "b"}}, 1)
	}
	v := recovery.Viewer[string]{Own: []string{"a", "b"}, Rooms: new(recovery.Memberships[string])}
	for most, want := range map[int]bool{100 * 20: true, 100*20 - 1: false, 100: false, 0: false} {
		if _, ok := l.Since(0, v, most, 10); ok != want {
			t.Errorf("%d bytes: %v", most, ok)
		}
	}
	if missed, ok := l.Since(100, v, 0, 10); !ok || missed != nil {
		t.Error("nothing is too much")
	}
	if _, ok := l.Since(101, v, 1<<20, 10); ok {
		t.Error("the future is known")
	}
}
