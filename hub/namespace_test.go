package hub

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestRoomIndexAgreesInBothDirections compares the room index with a naive one through random joins,
// leaves and departures: both directions must always agree.
func TestRoomIndexAgreesInBothDirections(t *testing.T) {
	h := New(Config{RoomsPerSocket: 8})
	t.Cleanup(h.Close)
	n := newNamespace(h, "/", false, &NamespaceConfig{Name: "/"})
	rng := rand.New(rand.NewPCG(1, 2))
	model := map[*Socket]map[string]bool{}
	var sockets []*Socket

	for step := range 20_000 {
		switch {
		case len(sockets) < 3 || rng.IntN(10) == 0 && len(sockets) < 40:
			s := &Socket{id: fmt.Sprint("socket", step), ns: n}
			s.via.Store(&client{})
			n.add(s, func() {})
			sockets = append(sockets, s)
			model[s] = map[string]bool{}
		case rng.IntN(30) == 0:
			i := rng.IntN(len(sockets))
			n.remove(sockets[i], "")
			delete(model, sockets[i])
			sockets = slices.Delete(sockets, i, i+1)
		default:
			s := sockets[rng.IntN(len(sockets))]
			room := Address{Name: fmt.Sprint("room", rng.IntN(12))}
			if rng.IntN(2) == 0 {
				r := n.join(s, []Address{room}, true)
				if full := len(model[s]) == 8 && !model[s][room.Name]; full != (r != nil) {
					t.Fatalf("step %d: join of a socket in %d rooms: %v", step, len(model[s]), r)
				}
				if r == nil {
					model[s][room.Name] = true
				}
			} else {
				n.leave(s, []Address{room})
				delete(model[s], room.Name)
			}
		}
		if step%50 == 0 {
			checkIndex(t, n, model)
		}
	}
	checkIndex(t, n, model)
}

func checkIndex(t *testing.T, n *Namespace, model map[*Socket]map[string]bool) {
	t.Helper()
	counts := map[string]int{}
	for s, rooms := range model {
		for name := range rooms {
			counts[name]++
			if !s.InRoom(Address{Name: name}) {
				t.Fatalf("%s is not in %s", s.id, name)
			}
		}
		if got := len(s.Rooms()) - 1; got != len(rooms) {
			t.Fatalf("%s is in %d rooms, want %d", s.id, got, len(rooms))
		}
		for i, m := range s.rooms {
			if back := m.room.members[m.at]; back.socket != s || int(back.at) != i {
				t.Fatalf("%s: room %q does not point back", s.id, m.room.name)
			}
		}
	}
	if len(n.rooms) != len(counts) {
		t.Fatalf("%d rooms, want %d", len(n.rooms), len(counts))
	}
	for name, r := range n.rooms {
		if len(r.members) != counts[name] {
			t.Fatalf("%s has %d members, want %d", name, len(r.members), counts[name])
		}
	}
	if len(n.all.members) != len(model) || len(n.byID) != len(model) {
		t.Fatalf("%d sockets in all, %d by id, want %d", len(n.all.members), len(n.byID), len(model))
	}
}

// One announcement is limited in its list, not in its receivers.
func TestPaceLimitsTheListNotItsReceivers(t *testing.T) {
	var p announcementLimiter
	now := time.Now()
	p.spend(now, 20_000_000_000)
	if wait := p.next().Sub(now); wait != 20_000*time.Second {
		t.Errorf("the next may go out in %v", wait)
	}
}
