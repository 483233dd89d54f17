package recovery_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/caddy-realtime/realtime/recovery"
)

func TestChosenRoomsAreTheClientsOwn(t *testing.T) {
	var ms recovery.Memberships[string]
	ms.Join("client's", 1, true)
	ms.Join("server's", 1, false)
	ms.Join("both", 1, true)
	ms.Join("both", 2, false)
	ms.Join("server's", 2, true)
	ms.Join("left", 2, true)
	ms.Leave("left", 3, 0)
	if got := ms.Chosen(); !slices.Equal(got, []string{"client's", "left"}) {
		t.Errorf("chosen: %q", got)
	}
	if got := ms.Rooms(); !slices.Equal(got, []string{"client's", "server's", "both"}) {
		t.Errorf("rooms: %q", got)
	}
	ms.Revoke("client's", 5)
	if got := ms.Rooms(); !slices.Equal(got, []string{"server's", "both"}) {
		t.Errorf("rooms after one was revoked: %q", got)
	}
}

// Memberships that have ended are bounded; beyond, what was missed before is not
// known.
func TestEndedMembershipsAreBounded(t *testing.T) {
	var l recovery.Log[string, text]
	var ms recovery.Memberships[string]
	for i := range 1000 {
		room := fmt.Sprint("room", i)
		ms.Join(room, l.Last(), true)
		l.Append(recovery.Event[string, text]{Payload: "x", To: []string{room}}, 1)
		ms.Leave(room, l.Last(), l.Floor())
	}
	if size := ms.Size(func(room string) int { return len(room) }); size > 40_000 {
		t.Errorf("they take %d bytes", size)
	}
	v := recovery.Viewer[string]{Rooms: &ms}
	if missed, ok := l.Since(900, v, 1<<20, 1); !ok || len(missed) != 100 {
		t.Errorf("of the last 100: %d, %v", len(missed), ok)
	}
	if _, ok := l.Since(800, v, 1<<20, 1); ok {
		t.Error("all is known")
	}
	clone := ms.Clone()
	clone.Revoke("room999", 0)
	if missed, _ := l.Since(900, v, 1<<20, 1); len(missed) != 100 {
		t.Error("a clone is not a copy")
	}
	if missed, _ := l.Since(900, recovery.Viewer[string]{Rooms: &clone}, 1<<20, 1); len(missed) != 99 {
		t.Error("a revoked room is repeated")
	}
}
