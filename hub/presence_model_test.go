package hub_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

// presencePolicy lets clients join, leave, appear and ask who is there.
func presencePolicy(c hub.Call) {
	text := strings.Trim(string(c.Event().Args.JSON), `"`)
	switch c.Event().Name {
	case "appear":
		c.End(c.Do(&hub.Appear{User: text}))
	case "who":
		who := map[string]any{"online": c.Directory().Online(), "room": c.Directory().Members(hub.Address{Name: "told"}), "secret": c.Directory().Members(hub.Address{Name: "secret"})}
		out, _ := json.Marshal(who)
		c.Do(&hub.Ack{Args: args(string(out))})
		c.End(nil)
	default:
		rooms(c)
	}
}

// ear is a client that believes what it is told.
type ear struct {
	*siotest.Conn
	t     *testing.T
	knows map[string]map[string]bool // by room; "": the namespace
	heard int
}

func set(list []string) map[string]bool {
	s := map[string]bool{}
	for _, user := range list {
		s[user] = true
	}
	return s
}

// change notes a change; what is told must be news.
func (e *ear) change(room string, users []string, present bool) {
	for _, user := range users {
		if e.knows[room][user] == present {
			e.t.Fatalf("told twice that %s in %q: %v", user, room, present)
		}
		if present {
			e.knows[room][user] = true
		} else {
			delete(e.knows[room], user)
		}
	}
}

// hear takes in what has arrived.
func (e *ear) hear() {
	for _, m := range e.Heard() {
		var packet []json.RawMessage
		if err := json.Unmarshal([]byte(strings.TrimPrefix(m, "42")), &packet); err != nil {
			e.t.Fatalf("%s: %v", m, err)
		}
		e.heard++
		var event string
		var body struct {
			UserID       string
			Timestamp    int64
			Room         string
			Members      []string
			Joined, Left []string
		}
		var list []string
		json.Unmarshal(packet[0], &event)
		if event == "online-users" {
			json.Unmarshal(packet[1], &list)
		} else if err := json.Unmarshal(packet[1], &body); err != nil {
			e.t.Fatalf("%s: %v", m, err)
		}
		switch event {
		case "online-users":
			if !slices.IsSorted(list) || len(set(list)) != len(list) {
				e.t.Fatalf("list %v", list)
			}
			e.knows[""] = set(list)
		case "user-online", "user-offline":
			if age := time.Now().UnixMilli() - body.Timestamp; age < 0 || age > 3000 {
				e.t.Fatalf("%s at %d", m, time.Now().UnixMilli())
			}
			e.change("", []string{body.UserID}, event == "user-online")
		case "room-members":
			if body.Room != "told" {
				e.t.Fatalf("unexpected %s", m)
			}
			if body.Members != nil {
				e.knows[body.Room] = set(body.Members)
			}
			e.change(body.Room, body.Joined, true)
			e.change(body.Room, body.Left, false)
		default:
			e.t.Fatalf("unexpected %s", m)
		}
	}
}

// guest is one socket of the model.
type guest struct {
	*siotest.Conn
	user  string
	rooms map[string]bool
}

// gathering is what should be known, computed naively.
type gathering struct {
	t      *testing.T
	guests []*guest
	absent map[[2]string]time.Time // members without a socket: room, user → until
	config hub.PresenceConfig
}

func (g *gathering) sockets(room, user string) (n int) {
	for _, guest := range g.guests {
		if guest.user == user && (room == "" || guest.rooms[room]) {
			n++
		}
	}
	return n
}

func (g *gathering) members(room string) map[string]bool {
	users := map[string]bool{}
	for _, guest := range g.guests {
		if guest.user != "" && (room == "" || guest.rooms[room]) {
			users[guest.user] = true
		}
	}
	for at, until := range g.absent {
		switch {
		case !until.After(time.Now()), g.sockets(at[0], at[1]) > 0:
			delete(g.absent, at)
		case at[0] == room:
			users[at[1]] = true
		}
	}
	return users
}

// gone takes out a guest whose connection ended.
func (g *gathering) gone(i int) {
	guest := g.guests[i]
	g.members("")
	g.guests = slices.Delete(g.guests, i, i+1)
	if guest.user == "" || !g.config.On() || g.config.Grace == 0 {
		return
	}
	for _, room := range append(slices.Collect(maps.Keys(guest.rooms)), "") {
		if g.sockets(room, guest.user) == 0 {
			g.absent[[2]string{room, guest.user}] = time.Now().Add(g.config.Grace)
		}
	}
}

// TestAnnouncementsAgreeWithTheModel compares what clients were told and what rules see
// with a naive model: through random connects, disconnects, joins, leaves,
// appearances and reloads that switch what is announced.
func TestAnnouncementsAgreeWithTheModel(t *testing.T) {
	for _, users := range []int{6, 170} {
		t.Run(fmt.Sprint(users, " users"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { gather(t, users) })
		})
	}
}

func gather(t *testing.T, users int) {
	policy := &script{event: presencePolicy}
	configured := func(p hub.PresenceConfig) hub.Config {
		return hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: policy, Presence: p}}}
	}
	toldRooms := func(room string) bool { return room == "told" }
	h := hub.New(configured(hub.PresenceConfig{}))
	n := siotest.Serve(t, http.HandlerFunc(h.Engine().ServeHTTP))
	t.Cleanup(h.Close)

	g := &gathering{t: t, absent: map[[2]string]time.Time{}}
	e := &ear{Conn: n.WebSocket(wsPath), t: t, knows: map[string]map[string]bool{}}
	e.Join("/", "")
	for _, room := range []string{"told", "secret"} {
		e.Send(`420["join","` + room + `"]`)
		e.Expect(`430[]`)
	}
	rng := rand.New(rand.NewPCG(7, uint64(users)))
	reload := func(p hub.PresenceConfig) {
		before := g.config
		g.config = p
		h.Update(configured(p))
		synctest.Wait()
		if before.Announce == hub.AnnounceOff && p.Announce == hub.AnnounceDiff {
			e.knows[""] = g.members("") // is told from here on
		}
		e.hear()
	}
	check := func() {
		t.Helper()
		asker := n.WebSocket(wsPath)
		asker.Join("/", "")
		asker.Send(`420["who"]`)
		synctest.Wait()
		var who struct{ Online, Room, Secret []string }
		for _, m := range asker.Heard() {
			if answer, ok := strings.CutPrefix(m, "430["); ok {
				json.Unmarshal([]byte(strings.TrimSuffix(answer, "]")), &who)
			}
		}
		asker.Close()
		for _, place := range []struct {
			room string
			got  []string
		}{{"", who.Online}, {"told", who.Room}, {"secret", who.Secret}} {
			if want := slices.Sorted(maps.Keys(g.members(place.room))); !slices.Equal(place.got, want) {
				t.Fatalf("rules see %v in %q, want %v", place.got, place.room, want)
			}
		}
	}
	// settled waits until everything must have been told.
	settled := func() {
		t.Helper()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		e.hear()
		for room, on := range map[string]bool{"": g.config.Announce != hub.AnnounceOff, "told": g.config.Rooms != nil} {
			if want := g.members(room); on && !maps.Equal(e.knows[room], want) {
				t.Fatalf("%+v: was told of %v in %q, want %v", g.config, e.knows[room], room, want)
			}
		}
		if e.heard > 0 && !g.config.On() {
			t.Fatal("told though all is off")
		}
		e.heard = 0
	}
	for step := range 2500 {
		switch k := rng.IntN(60); {
		case k == 0:
			p := hub.PresenceConfig{Announce: hub.Announce(rng.IntN(3)), Grace: time.Duration(rng.IntN(3)) * 700 * time.Millisecond}
			if rng.IntN(2) == 0 {
				p.Rooms = toldRooms
			}
			settled()
			reload(p)
			if rng.IntN(4) == 0 { // back at once
				reload(hub.PresenceConfig{})
				e.knows[""] = nil
				reload(p)
			}
			e.heard = 0
		case k < 25 && len(g.guests) < users*3/2 || len(g.guests) < 2:
			guest := &guest{Conn: n.WebSocket(wsPath), rooms: map[string]bool{}}
			guest.Join("/", "")
			g.guests = append(g.guests, guest)
			if rng.IntN(8) > 0 {
				g.appear(guest, rng.IntN(users))
			}
			if rng.IntN(2) == 0 {
				g.join(guest, "told")
			}
		default:
			i := rng.IntN(len(g.guests))
			guest, room := g.guests[i], []string{"told", "secret"}[rng.IntN(2)]
			switch {
			case k < 35:
				if rng.IntN(2) == 0 {
					guest.Send("41")
				} else {
					guest.Close()
				}
				synctest.Wait()
				g.gone(i)
			case k < 40:
				g.appear(guest, rng.IntN(users))
			case k < 50:
				g.join(guest, room)
			default:
				guest.Send(`42["leave","` + room + `"]`)
				synctest.Wait()
				delete(guest.rooms, room)
			}
		}
		if rng.IntN(3) == 0 {
			time.Sleep(time.Duration(rng.IntN(150)) * time.Millisecond)
			synctest.Wait()
			e.hear()
		}
		if step%20 == 0 {
			check()
		}
		if step%100 == 0 {
			settled()
		}
	}
	settled()
}

func (g *gathering) appear(guest *guest, user int) {
	g.members("")
	guest.Send(fmt.Sprintf(`42["appear","user%03d"]`, user))
	synctest.Wait()
	guest.user = fmt.Sprintf("user%03d", user)
	g.members("")
}

func (g *gathering) join(guest *guest, room string) {
	guest.Send(`42["join","` + room + `"]`)
	synctest.Wait()
	guest.rooms[room] = true
	g.members("")
}
