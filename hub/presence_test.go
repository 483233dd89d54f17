package hub_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
	"github.com/caddy-realtime/realtime/internal/testenv"
	"github.com/caddy-realtime/realtime/internal/wsclient"
)

// announcing is a hub whose clients say what they are called.
func announcing(p hub.PresenceConfig) hub.Config {
	return hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{event: presencePolicy}, Presence: p}}}
}

// as connects a client that counts as user, "" for nobody, and lets the
// changes be told.
func as(n *siotest.Network, user string) *siotest.Conn {
	c := n.WebSocket(wsPath)
	c.Join("/", "")
	if user != "" {
		c.Send(`420["appear","` + user + `"]`)
		c.Expect(`430[]`)
	}
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
	return c
}

func quietly(conns ...*siotest.Conn) {
	time.Sleep(150 * time.Millisecond)
	synctest.Wait()
	for _, c := range conns {
		c.Quiet()
	}
}

func TestAnnounceListSendsTheWholeList(t *testing.T) {
	serveConfig(t, announcing(hub.PresenceConfig{Announce: hub.AnnounceList, Grace: 5 * time.Second}), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		anonymous := as(n, "")
		anonymous.Expect(`42["online-users",[]]`)
		bob := as(n, "bob")
		bob.Expect(`42["online-users",["bob"]]`)
		ann := as(n, "ann")
		anonymous.Expect(`42["online-users",["bob"]]`)
		for _, c := range []*siotest.Conn{anonymous, bob, ann} {
			c.Expect(`42["online-users",["ann","bob"]]`)
		}
		quietly(anonymous, bob, ann)
	})
}

func TestUserWithSeveralDevicesIsAnnouncedOnce(t *testing.T) {
	serveConfig(t, announcing(hub.PresenceConfig{Announce: hub.AnnounceList}), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		watcher := as(n, "")
		watcher.Expect(`42["online-users",[]]`)
		phone := as(n, "ann")
		watcher.Expect(`42["online-users",["ann"]]`)
		laptop := as(n, "ann")
		phone.Expect(`42["online-users",["ann"]]`)
		laptop.Expect(`42["online-users",["ann"]]`) // a newcomer gets it, though nothing has changed
		phone.Close()
		quietly(watcher, laptop)
		laptop.Send("41")
		watcher.Expect(`42["online-users",[]]`)

		// What cancels within the interval is not told.
		flash := n.WebSocket(wsPath)
		flash.Join("/", "")
		flash.Send(`42["appear","eve"]`)
		synctest.Wait()
		flash.Close()
		quietly(watcher)
	})
}

func TestAnnounceGraceHidesShortAbsences(t *testing.T) {
	serveConfig(t, announcing(hub.PresenceConfig{Announce: hub.AnnounceDiff, Grace: 5 * time.Second}), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		watcher := as(n, "")
		at := func(event string) string {
			return fmt.Sprintf(`42["%s",{"userId":"ann","timestamp":%d}]`, event, time.Now().UnixMilli())
		}
		ann := as(n, "ann")
		watcher.Expect(at("user-online"))
		online := func(want string) {
			t.Helper()
			watcher.Send(`421["who"]`)
			watcher.Expect(`431[{"online":` + want + `,"room":null,"secret":null}]`)
		}
		for range 5 {
			ann.Close()
			time.Sleep(4 * time.Second)
			online(`["ann"]`)
			ann = as(n, "ann")
		}
		quietly(watcher)
		ann.Close()
		time.Sleep(5*time.Second + time.Millisecond)
		synctest.Wait()
		if got := watcher.Next(); !strings.HasPrefix(got, `42["user-offline",{"userId":"ann","timestamp":`) {
			t.Error(got)
		}
	})
}

func TestMembersOfARoomHearOfItsMembers(t *testing.T) {
	told := func(room string) bool { return room != "secret" }
	serveConfig(t, announcing(hub.PresenceConfig{Rooms: told}), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		join := func(c *siotest.Conn, room string) {
			c.Send(`420["join","` + room + `"]`)
			c.Expect(`430[]`)
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		watcher, ann, bob := as(n, ""), as(n, "ann"), as(n, "bob")
		join(watcher, "a")
		watcher.Expect(`42["room-members",{"room":"a","members":[]}]`)
		join(ann, "a")
		watcher.Expect(`42["room-members",{"room":"a","members":["ann"]}]`)
		ann.Expect(`42["room-members",{"room":"a","members":["ann"]}]`)
		join(bob, "secret")
		join(ann, "secret")
		quietly(watcher, ann, bob)
		ann.Send(`42["leave","a"]`)
		watcher.Expect(`42["room-members",{"room":"a","members":[]}]`)
		quietly(ann) // it is not in the room

		// Whoever was there for a moment only is told nothing about it.
		bob.Send(`42["join","a"]`)
		bob.Send(`42["leave","a"]`)
		quietly(watcher, bob)
	})
}

// Above 100 users the newcomer gets a list and their number, the others what
// changed; above 1,000 a part of the list.
func TestManyUsersAreAnnouncedByDifference(t *testing.T) {
	quiet := hub.PresenceConfig{}
	loud := hub.PresenceConfig{Announce: hub.AnnounceList, Rooms: func(string) bool { return true }}
	serveConfig(t, announcing(quiet), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		watcher := as(n, "")
		watcher.Send(`42["join","a"]`)
		var crowd []*siotest.Conn
		for i := range 1001 {
			c := n.WebSocket(wsPath)
			c.Join("/", "")
			c.Send(fmt.Sprintf(`42["appear","u%04d"]`, i))
			c.Send(`42["join","a"]`)
			crowd = append(crowd, c)
		}
		h.Update(announcing(loud))
		time.Sleep(time.Minute) // everybody gets both lists, of 13 KB
		synctest.Wait()
		watcher.Heard()
		last := as(n, "")
		last.Send(`42["join","a"]`)
		time.Sleep(time.Minute)
		synctest.Wait()
		heard := last.Heard()
		if len(heard) != 2 {
			t.Fatalf("a newcomer heard %.200q", heard)
		}
		for i, want := range []string{`42["online-users",["u0000","u0001",`, `42["room-members",{"room":"a","members":["u0000","u0001",`} {
			end := []string{`"u0999"],1001]`, `"u0999"],"count":1001}]`}[i]
			if !strings.HasPrefix(heard[i], want) || !strings.HasSuffix(heard[i], end) {
				t.Errorf("a newcomer heard %.80s … %s", heard[i], heard[i][len(heard[i])-40:])
			}
		}
		watcher.Quiet()
		crowd[7].Close()
		crowd[8].Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		told := strings.Join(watcher.Heard(), " ")
		for _, want := range []string{`["user-offline",{"userId":"u0007",`, `["user-offline",{"userId":"u0008",`, `["room-members",{"room":"a","joined":[],"left":["u0007"]}]`, `["room-members",{"room":"a","joined":[],"left":["u0008"]}]`} {
			if strings.Count(told, want) != 1 {
				t.Errorf("told %s, want %s", told, want)
			}
		}
		if n := strings.Count(told, "42["); n != 4 {
			t.Errorf("%d events: %s", n, told)
		}
	})
}

func TestAppearTakesValidIdsOfAnonymousClients(t *testing.T) {
	serveConfig(t, announcing(hub.PresenceConfig{}), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := as(n, "ann")
		for name, want := range map[string]string{
			"":                             `430[{"error":"Invalid user id","code":"INVALID"}]`,
			strings.Repeat("x", 129):       `430[{"error":"Invalid user id","code":"INVALID"}]`,
			"a\x7fb":                       `430[{"error":"Invalid user id","code":"INVALID"}]`,
			"user:bob":                     `430[{"error":"Reserved user id","code":"FORBIDDEN"}]`,
			"s_" + strings.Repeat("a", 18): `430[{"error":"Reserved user id","code":"FORBIDDEN"}]`,
			strings.Repeat("x", 128):       `430[]`,
		} {
			c.Send(`420["appear","` + name + `"]`)
			c.Expect(want)
		}
	})
	// Where tokens say who is who, nobody else does.
	c := announcing(hub.PresenceConfig{})
	c.Namespaces[0].Auth = optional{}
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		anonymous, ann := n.WebSocket(wsPath), n.WebSocket(wsPath)
		anonymous.Join("/", "")
		ann.Join("/", `{"token":"ann"}`)
		anonymous.Send(`420["appear","bob"]`)
		anonymous.Expect(`430[{"error":"Log in to appear","code":"FORBIDDEN"}]`)
		ann.Send(`420["appear","bob"]`)
		ann.Expect(`430[]`)
		ann.Send(`420["who"]`)
		ann.Expect(`430[{"online":["ann"],"room":null,"secret":null}]`)
	})
}

// A namespace that goes takes with it who was about to come back.
func TestPresenceOfNamespacesThatGo(t *testing.T) {
	p := hub.PresenceConfig{Announce: hub.AnnounceList, Grace: time.Minute}
	config := func(names ...string) (c hub.Config) {
		for _, name := range names {
			c.Namespaces = append(c.Namespaces, hub.NamespaceConfig{Name: name, Policy: &script{event: presencePolicy}, Presence: p})
		}
		c.Namespaces = append(c.Namespaces, hub.NamespaceConfig{Pattern: regexp.MustCompile(`/room-\d+`), Policy: &script{event: presencePolicy}, Presence: p})
		return c
	}
	serveConfig(t, config("/", "/goes"), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		visit := func(namespace, user, want string) {
			t.Helper()
			c := n.WebSocket(wsPath)
			c.Join(namespace, "")
			c.Send(`42` + namespace + `,["appear","` + user + `"]`)
			c.Expect(`42` + namespace + `,["online-users",` + want + `]`)
			c.Close()
			synctest.Wait()
		}
		visit("/room-1", "ann", `["ann"]`)
		visit("/room-1", "bob", `["ann","bob"]`)
		time.Sleep(31 * time.Second) // then it goes
		visit("/room-1", "eve", `["eve"]`)
		visit("/goes", "ann", `["ann"]`)
		visit("/goes", "bob", `["ann","bob"]`)
		h.Update(config("/"))
		h.Update(config("/", "/goes"))
		visit("/goes", "eve", `["eve"]`)
		time.Sleep(2 * time.Minute)
		visit("/goes", "eve", `["eve"]`)
	})
}

// Who is to be back in a namespace that has gone, by its time or to make room,
// comes to the next of that name as everybody does.
func TestPresenceOfNamespacesThatComeBack(t *testing.T) {
	for name, goes := range map[string]func(n *siotest.Network){
		"unused": func(*siotest.Network) { time.Sleep(31 * time.Second) },
		"makes room": func(n *siotest.Network) {
			c := n.WebSocket(wsPath)
			c.Join("/room-2", "")
			c.Close()
			synctest.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := hub.PresenceConfig{Announce: hub.AnnounceList, Grace: time.Minute}
			c := hub.Config{DynamicNamespaces: 1, Namespaces: []hub.NamespaceConfig{
				{Pattern: regexp.MustCompile(`/room-\d+`), Policy: &script{event: presencePolicy}, Presence: p},
			}}
			serveConfig(t, c, func(t *testing.T, _ *hub.Hub, n *siotest.Network) {
				appear := func(user string) *siotest.Conn {
					c := n.WebSocket(wsPath)
					c.Join("/room-1", "")
					c.Send(`42/room-1,["appear","` + user + `"]`)
					return c
				}
				ann := appear("ann")
				ann.Expect(`42/room-1,["online-users",["ann"]]`)
				ann.Close()
				synctest.Wait()
				goes(n)
				eve := appear("eve")
				eve.Expect(`42/room-1,["online-users",["eve"]]`)
				ann = appear("ann")
				ann.Expect(`42/room-1,["online-users",["ann","eve"]]`)
				eve.Expect(`42/room-1,["online-users",["ann","eve"]]`)
			})
		})
	}
}

// counted counts what a server writes.
type counted struct {
	net.Listener
	bytes, writes atomic.Int64
}

type countedConn struct {
	net.Conn
	to *counted
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countedConn{c, l}, nil
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.to.bytes.Add(int64(n))
	c.to.writes.Add(1)
	return n, err
}

// deaf connects a client that reads nothing but throws away, and sends packets.
func deaf(t *testing.T, n *siotest.Network, packets ...string) net.Conn {
	c, err := n.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReaderSize(c, 512)
	if err := wsclient.Open(c, r, "mem", wsPath); err != nil {
		t.Fatal(err)
	}
	go r.WriteTo(io.Discard) //nolint:errcheck // ends with the connection
	for _, p := range packets {
		if _, err := c.Write(wsclient.AppendFrame(nil, wsclient.Text, p)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// What announcements cost in a hub of many users,
// of whom one comes and goes ten times a second, and then all of them at once.
func TestAnnouncementsAreBounded(t *testing.T) {
	const crowd = 10_000 / testenv.Slowdown
	synctest.Test(t, func(t *testing.T) {
		c := announcing(hub.PresenceConfig{})
		c.Engine.PingInterval = 24 * time.Hour
		h := hub.New(c)
		count := &counted{}
		n := siotest.ServeOn(t, http.HandlerFunc(h.Engine().ServeHTTP), func(l net.Listener) net.Listener {
			count.Listener = l
			return count
		})
		t.Cleanup(h.Close)
		for i := range crowd {
			c := deaf(t, n, "40", fmt.Sprintf(`42["appear","user-%05d"]`, i))
			t.Cleanup(func() { c.Close() })
		}
		const limit, writeLimit = 1_200_000, 7000 // 5,200, and who comes
		within := func(what string, seconds int64, second func()) {
			t.Helper()
			before, writes := count.bytes.Load(), count.writes.Load()
			for range seconds {
				second()
				synctest.Wait()
			}
			bytes, writes := (count.bytes.Load()-before)/seconds, (count.writes.Load()-writes)/seconds
			t.Logf("%s: %d bytes a second, %d writes", what, bytes, writes)
			if bytes > limit || writes > writeLimit {
				t.Errorf("%s: %d bytes a second and %d writes, want at most %d and %d", what, bytes, writes, limit, writeLimit)
			}
		}
		nothing := func() { time.Sleep(time.Second) }
		c.Namespaces[0].Presence = hub.PresenceConfig{Announce: hub.AnnounceList}
		h.Update(c) // everybody is a newcomer
		within("everybody gets a list", 10, nothing)
		h.Update(announcing(hub.PresenceConfig{}))
		c.Namespaces[0].Presence.Announce = hub.AnnounceDiff
		h.Update(c)
		nothing()
		flap := func(there time.Duration) func() {
			return func() {
				for range time.Second / there / 2 {
					flapping := deaf(t, n, "40", `42["appear","flapping"]`)
					time.Sleep(there)
					flapping.Close()
					time.Sleep(there)
				}
			}
		}
		within("one flaps 10 times a second", 10, flap(50*time.Millisecond))
		within("one flaps 5 times, for longer than the interval", 10, flap(100*time.Millisecond))
		for i := range 100 {
			deaf(t, n, "40", fmt.Sprintf(`42["appear","new-%d"]`, i))
		}
		within("a hundred come", 20, nothing)
	})
}
