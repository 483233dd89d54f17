package presence_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/presence"
)

// model is State, computed naively.
type model struct {
	sockets map[[2]string]int
	until   map[[2]string]time.Time // of members without a socket
}

func (m *model) members(room string) []string {
	users := map[string]bool{}
	for at, n := range m.sockets {
		if at[0] == room && n > 0 {
			users[at[1]] = true
		}
	}
	for at := range m.until {
		if at[0] == room {
			users[at[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(users))
}

// Random moves of State are compared with the model, and an audience that is
// told a few changes at a time with what it should know.
func TestStateAgreesWithTheModel(t *testing.T) {
	const namespace = "/"
	rng := rand.New(rand.NewPCG(5, 6))
	now := time.Unix(1_700_000_000, 0)
	m := model{sockets: map[[2]string]int{}, until: map[[2]string]time.Time{}}
	held := 0
	s := presence.State{Grew: func(bytes int) { held += bytes }}
	diffs := map[string]*presence.Diff{"": new(presence.Diff), "a": new(presence.Diff), "b": new(presence.Diff)}
	knows := map[string]map[string]bool{"": {}, "a": {}, "b": {}}
	for step := range 20_000 {
		at := [2]string{[]string{"", "a", "b"}[rng.IntN(3)], fmt.Sprint("user", rng.IntN(12))}
		room, user := at[0], at[1]
		_, absent := m.until[at]
		switch {
		case rng.IntN(2) == 0:
			came := s.Entered(namespace, room, user)
			if want := m.sockets[at] == 0 && !absent; came != want {
				t.Fatalf("step %d: %v came: %v", step, at, came)
			}
			m.sockets[at]++
			delete(m.until, at)
		case m.sockets[at] > 0:
			grace := time.Duration(rng.IntN(3)) * time.Second
			went := s.Left(namespace, room, user, now, grace)
			m.sockets[at]--
			if want := m.sockets[at] == 0 && grace == 0; went != want {
				t.Fatalf("step %d: %v went: %v", step, at, went)
			}
			if m.sockets[at] == 0 && grace > 0 {
				m.until[at] = now.Add(grace)
			}
		}
		diffs[room].Note(user, s.IsMember(namespace, room, user))

		now = now.Add(time.Duration(rng.IntN(300)) * time.Millisecond)
		next := s.Expire(namespace, now, func(room, user string) { diffs[room].Note(user, false) })
		var soonest time.Time
		for at, until := range m.until {
			if !until.After(now) {
				delete(m.until, at)
			} else if soonest.IsZero() || until.Before(soonest) {
				soonest = until
			}
		}
		if !next.Equal(soonest) {
			t.Fatalf("step %d: next is %v, want %v", step, next, soonest)
		}

		for room, diff := range diffs {
			members := m.members(room)
			if got := s.Members(namespace, room); !slices.Equal(got, members) {
				t.Fatalf("step %d, room %q: got %v, want %v", step, room, got, members)
			}
			if rng.IntN(50) == 0 {
				diff.Sync(members)
			}
			hear(t, diff, knows[room], members, rng.IntN(4))
		}
	}

	for at, sockets := range m.sockets {
		for range sockets {
			s.Left(namespace, at[0], at[1], now, 0)
		}
	}
	s.Expire(namespace, now.Add(time.Minute), func(string, string) {})
	if held != 0 {
		t.Errorf("%d bytes are held for an empty State", held)
	}
}

func TestMemoryIsHeldForEachPlaceAndMember(t *testing.T) {
	held := 0
	s := presence.State{Grew: func(bytes int) { held += bytes }}
	enter := func(room, user string) (bytes int) {
		before := held
		s.Entered("/", room, user)
		return held - before
	}
	short, long := "u", strings.Repeat("u", 101)
	first, second, longer := enter("a", "first"), enter("a", short), enter("a", long)
	if second <= 0 || first <= second {
		t.Errorf("a room with a member holds %d bytes, one more member %d", first, second)
	}
	if longer != second+100 {
		t.Errorf("a user id of 101 bytes holds %d bytes, one of 1 byte %d", longer, second)
	}
	if again := enter("a", short); again != 0 {
		t.Errorf("a member's second socket holds %d bytes", again)
	}
	if other := enter("b", short); other <= second {
		t.Errorf("a member of a new room holds %d bytes, of one that was there %d", other, second)
	}
}

// hear tells an audience at most so many changes, and checks them.
func hear(t *testing.T, diff *presence.Diff, knows map[string]bool, members []string, most int) {
	t.Helper()
	differ := 0
	for i := range 12 {
		user := fmt.Sprint("user", i)
		if knows[user] != slices.Contains(members, user) {
			differ++
		}
	}
	if diff.Pending() != differ || diff.Members() != len(members) {
		t.Fatalf("%d pending to %d members, want %d to %d", diff.Pending(), diff.Members(), differ, len(members))
	}
	came, went := diff.Take(most)
	if len(came)+len(went) != min(most, differ) {
		t.Fatalf("took %v and %v of %d, at most %d", came, went, differ, most)
	}
	for _, user := range came {
		if knows[user] || !slices.Contains(members, user) {
			t.Fatalf("told that %s came", user)
		}
		knows[user] = true
	}
	for _, user := range went {
		if !knows[user] || slices.Contains(members, user) {
			t.Fatalf("told that %s went", user)
		}
		delete(knows, user)
	}
	if want := slices.Sorted(maps.Keys(knows)); !slices.Equal(diff.Known(), want) {
		t.Fatalf("knows %v, want %v", diff.Known(), want)
	}
}

func TestLastSeenOfRecentUsers(t *testing.T) {
	var s presence.State
	now := time.Unix(1_700_000_000, 0)
	come := func(user string) { s.Entered("/", "", user) }
	leave := func(user string) { s.Left("/", "", user, now, 5*time.Second) }
	at := func(user string) string {
		seen := s.LastSeen("/", user, now)
		if seen.IsZero() {
			return "never"
		}
		return now.Sub(seen).String()
	}
	expect := func(user, want string) {
		t.Helper()
		if got := at(user); got != want {
			t.Errorf("%s was seen %s ago, want %s", user, got, want)
		}
	}
	expect("ann", "never")
	come("ann")
	come("ann")
	expect("ann", "0s")
	now = now.Add(time.Minute)
	leave("ann")
	now = now.Add(time.Minute)
	expect("ann", "0s") // another device
	leave("ann")
	now = now.Add(time.Minute)
	expect("ann", "1m0s")
	if !s.LastSeen("/other", "ann", now).IsZero() {
		t.Error("seen in another namespace")
	}
	now = now.Add(24*time.Hour - time.Minute)
	expect("ann", "24h0m0s")
	come("zoe")
	leave("zoe") // forgets those who left earlier
	expect("ann", "24h0m0s")
	now = now.Add(1)
	expect("ann", "never")

	come("bob")
	leave("bob")
	for i := range 9_999 {
		come(fmt.Sprint(i))
		leave(fmt.Sprint(i))
	}
	expect("bob", "0s")
	come("one more")
	leave("one more")
	expect("bob", "never")
	expect("0", "0s")
}
