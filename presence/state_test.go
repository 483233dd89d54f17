package presence_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
	"github.com/caddy-realtime/realtime/presence"
)

var _ hub.Presence = (*presence.State)(nil)

// device is one socket of the naive model.
type device struct {
	user  string
	conn  *siotest.Conn
	rooms map[string]bool
}

// policy lets clients join and leave what they name.
type policy struct{}

func (policy) Connect(c hub.Call)    { c.End(nil) }
func (policy) Disconnect(c hub.Call) { c.End(nil) }
func (policy) Event(c hub.Call) {
	room := []hub.Address{{Name: string(c.Args().JSON[1 : len(c.Args().JSON)-1])}}
	if c.Name() == "join" {
		c.End(c.Join(room))
	} else {
		c.End(c.Leave(room))
	}
}

// named takes the payload {"u":"<user>"} for an identity; none is anonymous.
type named struct{}

func (named) Authenticate(_ context.Context, _ *engine.Handshake, payload []byte) (*auth.Identity, error) {
	if payload == nil {
		return nil, nil
	}
	return &auth.Identity{ID: string(payload[6 : len(payload)-2]), Claims: payload}, nil
}

// TestModel compares the State that a hub feeds with a naive recomputation,
// through random connects, joins, leaves, disconnects and vanished clients.
func TestModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var state presence.State
		h := hub.New(hub.Config{Presence: &state, Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: policy{}, Auth: named{}}}})
		n := siotest.Serve(t, http.HandlerFunc(h.Engine().ServeHTTP))
		t.Cleanup(h.Close)
		rng := rand.New(rand.NewPCG(3, 4))
		var devices []*device
		for step := range 1500 {
			if len(devices) < 2 || rng.IntN(8) == 0 && len(devices) < 16 {
				d := &device{user: fmt.Sprint("user", rng.IntN(5)), conn: n.WebSocket("/?EIO=4&transport=websocket"), rooms: map[string]bool{}}
				payload := `{"u":"` + d.user + `"}`
				if rng.IntN(5) == 0 {
					d.user, payload = "", ""
				}
				d.conn.Join("/", payload)
				devices = append(devices, d)
				continue
			}
			i := rng.IntN(len(devices))
			d, room := devices[i], fmt.Sprint("room", rng.IntN(4))
			switch rng.IntN(12) {
			case 0:
				d.conn.Send("41")
				devices = slices.Delete(devices, i, i+1)
			case 1:
				d.conn.Close()
				devices = slices.Delete(devices, i, i+1)
			case 2, 3, 4, 5:
				d.conn.Send(`420["leave","` + room + `"]`)
				d.conn.Expect(`430[]`)
				delete(d.rooms, room)
			default:
				d.conn.Send(`420["join","` + room + `"]`)
				d.conn.Expect(`430[]`)
				d.rooms[room] = true
			}
			if step%10 == 0 {
				synctest.Wait()
				compare(t, &state, devices)
			}
		}
		for _, d := range devices {
			d.conn.Close()
		}
		synctest.Wait()
		compare(t, &state, nil)
	})
}

func compare(t *testing.T, state *presence.State, devices []*device) {
	t.Helper()
	want := map[string]map[string]bool{"": {}, "room0": {}, "room1": {}, "room2": {}, "room3": {}}
	for _, d := range devices {
		if d.user == "" {
			continue
		}
		want[""][d.user] = true
		for room := range d.rooms {
			want[room][d.user] = true
		}
	}
	for room, users := range want {
		if got, want := state.Members("/", room), slices.Sorted(maps.Keys(users)); !slices.Equal(got, want) {
			t.Fatalf("room %q: got %v, want %v", room, got, want)
		}
		for i := range 5 {
			if user := fmt.Sprint("user", i); state.IsMember("/", room, user) != users[user] {
				t.Fatalf("room %q: %s", room, user)
			}
		}
	}
}
