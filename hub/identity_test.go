package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
	"github.com/caddy-realtime/realtime/parser"
)

// mint is an Authenticator that believes what a client says of itself.
type mint struct{}

func (mint) Authenticate(_ context.Context, _ *auth.Request, payload []byte) (*auth.Identity, error) {
	var token struct {
		ID   string `json:"token"`
		For  int    // seconds until it expires; 0: never
		Keep bool
		N    int
	}
	if payload == nil {
		return nil, nil
	}
	if err := json.Unmarshal(payload, &token); err != nil {
		return nil, err
	}
	switch token.ID {
	case "":
		return nil, nil
	case "bad":
		return nil, auth.ErrInvalidToken
	case "down":
		return nil, fmt.Errorf("keys unreachable")
	}
	id := &auth.Identity{ID: token.ID, Claims: fmt.Appendf(nil, `{"id":%q,"n":%d}`, token.ID, token.N), KeepExpired: token.Keep}
	if token.For > 0 {
		id.Expires = time.Now().Add(time.Duration(token.For) * time.Second).Round(0)
	}
	return id, nil
}

func serveMint(t *testing.T, p hub.Policy, f func(t *testing.T, h *hub.Hub, n *siotest.Network)) {
	t.Helper()
	for name, a := range map[string]hub.Authenticator{"on the reader": prompt{mint{}}, "beside it": mint{}} {
		t.Run(name, func(t *testing.T) {
			serveConfig(t, hub.Config{
				Engine:     engine.Config{Plain: true},
				Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: p, Auth: a}, {Name: "/open", Policy: p}},
			}, f)
		})
	}
}

// The client is told, and ten seconds later disconnected so
// that it tries again.
func TestExpiredTokenEndsTheConnectionAfterANotice(t *testing.T) {
	p := newDiary()
	serveMint(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		began := time.Now()
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann","for":5}`)
		c.Expect(`42["token-expired"]`)
		if got := time.Since(began); got != 5*time.Second {
			t.Errorf("expired after %s", got)
		}
		c.Send(`421["x"]`) // it may still refresh, and act
		c.Expect(`431[]`, "")
		if got := time.Since(began); got != 15*time.Second {
			t.Errorf("disconnected after %s", got)
		}
		p.expect(t, "connect ann", `event x of {"id":"ann","n":0}`, "disconnect token expired")
	})
}

func TestTokenExpiresOfPlainClient(t *testing.T) {
	serveMint(t, newDiary(), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.Open("/socket.io/", nil)
		c.Send(`{"auth":{"token":"ann","for":5}}`)
		c.Next()
		c.Expect(`{"event":"token-expired","args":[]}`, "")
	})
}

// Sockets without an end, and those that may outlive
// it, stay; those that left are not told.
func TestTokenDoesNotExpire(t *testing.T) {
	serveMint(t, newDiary(), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		for _, payload := range []string{`{"token":"ann"}`, `{"token":"ann","for":5,"keep":true}`, `{}`} {
			c := n.WebSocket(wsPath)
			c.Join("/", payload)
			time.Sleep(time.Minute)
			c.Quiet()
		}
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann","for":5}`)
		c.Join("/open", "")
		c.Send("41")
		time.Sleep(time.Minute)
		c.Quiet()
	})
}

// Neither what a rule does after a pause nor
// what the client sent before, if the token expired or the server disconnected
// the socket meanwhile.
func TestNothingRunsAfterExpulsion(t *testing.T) {
	held := make(chan hub.Call, 1)
	refused := make(chan string, 1)
	p := newDiary()
	note := p.event
	p.disconnect = func(c hub.Call) {
		if c.Kicked() {
			t.Error("on disconnect has nothing to do")
		}
		p.notes <- "disconnect " + c.Event().Reason
		c.End(nil)
	}
	p.event = func(c hub.Call) {
		switch c.Event().Name {
		case "hold":
			c.Suspend(true)
			held <- c
		case "ask":
			c.Suspend(false)
			c.Do(&hub.Ask{Event: "q", Args: args(``), Timeout: time.Minute, Then: func(_ parser.Args, r *hub.Refusal) {
				refused <- r.Message
				c.End(r)
			}})
		default:
			note(c)
		}
	}
	for name, expel := range map[string]func(h *hub.Hub){
		"expired":      func(h *hub.Hub) { time.Sleep(15 * time.Second) },
		"disconnected": func(h *hub.Hub) { h.Update(hub.Config{}) },
	} {
		t.Run(name, func(t *testing.T) {
			serveMint(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
				c := n.WebSocket(wsPath)
				c.Join("/", `{"token":"ann","for":5}`)
				c.Send(`42["ask"]`)
				c.Send(`42["hold"]`)
				c.Send(`42["next"]`)
				call := <-held
				if call.Kicked() {
					t.Error("expelled at once")
				}
				expel(h)
				synctest.Wait()
				if got := <-refused; got != "Disconnected" {
					t.Error(got)
				}
				if !call.Kicked() {
					t.Error("not expelled")
				}
				call.End(nil)
				reason := "server namespace disconnect"
				if name == "expired" {
					reason = "token expired"
				}
				p.expect(t, "connect ann", "disconnect "+reason)
			})
		})
	}
}

// A later token of the same user takes the place of the
// present one, and nothing else changes.
func TestAuthRefreshReplacesTheTokenOnly(t *testing.T) {
	p := newDiary()
	note := p.event
	p.event = func(c hub.Call) {
		switch c.Event().Name {
		case "join":
			c.End(c.Do(&hub.Join{Rooms: room("lobby")}))
		case "rooms":
			c.Do(&hub.Ack{Args: args(fmt.Sprintf("%q", strings.Join(c.Event().Socket.Rooms(), " ")))})
			c.End(nil)
		default:
			if c.Event().Name == "auth-refresh" {
				p.notes <- "args " + string(c.Event().Args.JSON)
			}
			note(c)
		}
	}
	serveMint(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		began := time.Now()
		c := n.WebSocket(wsPath)
		id := c.Join("/", `{"token":"ann","for":20}`)
		c.Send(`420["join"]`)
		c.Expect(`430[]`)
		time.Sleep(12 * time.Second)
		c.Send(`421["auth-refresh",{"token":"ann","for":20,"n":1,"device":"tv"}]`)
		c.Expect(`431[]`)
		c.Send(`422["x"]`)
		c.Expect(`432[]`)
		c.Send(`423["rooms"]`)
		c.Expect(`433["`+id+` user:ann lobby"]`, `42["token-expired"]`)
		if got := time.Since(began); got != 32*time.Second {
			t.Errorf("expired after %s", got)
		}
		time.Sleep(9 * time.Second)
		c.Send(`42["auth-refresh",{"token":"ann","n":2}]`) // at the last moment, without an end, unacknowledged
		time.Sleep(time.Hour)
		c.Quiet()
		c.Send(`424["x"]`)
		c.Expect(`434[]`)
		p.expect(t, "connect ann",
			`args {"for":20,"n":1,"device":"tv"}`, `event auth-refresh of {"id":"ann","n":1}`, `event x of {"id":"ann","n":1}`,
			`args {"n":2}`, `event auth-refresh of {"id":"ann","n":2}`, `event x of {"id":"ann","n":2}`)
		c.Close()
		p.expect(t, "disconnect transport close")
	})
}

// The identity stays as it was.
func TestRefusedRefreshKeepsTheIdentity(t *testing.T) {
	p := newDiary()
	serveMint(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		for _, test := range []struct{ was, token, want string }{
			{`{"token":"ann","for":60}`, `{"token":"ann","for":5}`, `{"error":"Not a later token","code":"FORBIDDEN"}`},
			{`{"token":"ann","for":60}`, `{"token":"bad"}`, `{"error":"Invalid token","code":"FORBIDDEN"}`},
			{`{"token":"ann","for":60}`, `{"token":"down"}`, `{"error":"Try again later","code":"UPSTREAM_ERROR"}`},
			{`{"token":"ann","for":60}`, `{}`, `{"error":"Authentication error","code":"FORBIDDEN"}`},
			{`{"token":"ann","for":60}`, `"ann"`, `{"error":"Invalid arguments","code":"INVALID"}`},
			{`{"token":"ann","for":60}`, ``, `{"error":"Invalid arguments","code":"INVALID"}`},
			{`{"token":"ann"}`, `{"token":"ann","for":60}`, `{"error":"Not a later token","code":"FORBIDDEN"}`},
		} {
			c := n.WebSocket(wsPath)
			c.Join("/", test.was)
			c.Send(strings.Replace(`421["auth-refresh",`+test.token+`]`, ",]", "]", 1))
			c.Expect(`431[` + test.want + `]`)
			c.Send(`422["x"]`)
			c.Expect(`432[]`)
			p.expect(t, "connect ann", `event x of {"id":"ann","n":0}`)
			c.Send("41")
			p.expect(t, "disconnect client namespace disconnect")
		}
		c := n.WebSocket(wsPath)
		c.Join("/open", "")
		c.Send(`42/open,1["auth-refresh",{"token":"ann"}]`)
		c.Expect(`43/open,1[{"error":"No token to refresh","code":"FORBIDDEN"}]`)
		c.Send(`42/open,["auth-refresh",{"token":"ann"}]`)
		c.Expect(`42/open,["error",{"code":"FORBIDDEN","message":"No token to refresh","event":"auth-refresh"}]`)
		p.expect(t, "connect ")
		c.Close()
		p.expect(t, "disconnect transport close")
	})
}

// An attack. With a token of somebody else a socket
// would keep the rooms of one user and get the rights of another.
func TestAuthRefreshSwapsUser(t *testing.T) {
	p := newDiary()
	serveMint(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		for was, name := range map[string]string{`{"token":"ann","for":60}`: "ann", ``: ""} { // and who has none becomes nobody
			c := n.WebSocket(wsPath)
			c.Join("/", was)
			c.Send(`421["auth-refresh",{"token":"admin","for":3600}]`)
			if m := c.Next(); !strings.HasSuffix(m, `"code":"FORBIDDEN"}]`) {
				t.Errorf("answer: %s", m)
			}
			c.Send(`422["x"]`)
			c.Expect(`432[]`)
			want := `event x of {"id":"ann","n":0}`
			if name == "" {
				want = "event x of "
			}
			p.expect(t, "connect "+name, want)
			c.Close()
			p.expect(t, "disconnect transport close")
		}
	})
}

func TestRefreshesOfASocketAreLimited(t *testing.T) {
	serveMint(t, newDiary(), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.Open("/socket.io/", nil)
		c.Send(`{"auth":{"token":"ann","for":60}}`)
		c.Next()
		c.Send(`{"event":"auth-refresh","args":[{"token":"bad"}],"id":1}`)
		c.Expect(`{"error":{"code":"FORBIDDEN","message":"Invalid token"},"id":1}`)
		time.Sleep(9 * time.Second)
		c.Send(`{"event":"auth-refresh","args":[{"token":"ann","for":90}],"id":2}`)
		c.Expect(`{"error":{"code":"RATE_LIMITED","message":"Too many refreshes"},"id":2}`)
		time.Sleep(time.Second)
		c.Send(`{"event":"auth-refresh","args":[{"token":"ann","for":90}],"id":3}`)
		c.Expect(`{"ack":3,"args":[]}`)
	})
}

// A rule sees the user as of its event's arrival, also
// if it waits meanwhile, or its event did.
func TestRuleKeepsItsUser(t *testing.T) {
	held := make(chan hub.Call, 1)
	p := newDiary()
	note := p.event
	p.event = func(c hub.Call) {
		if c.Event().Name != "hold" {
			note(c)
			return
		}
		c.Suspend(true)
		held <- c
	}
	serveMint(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", `{"token":"ann","for":60}`)
		c.Send(`421["hold"]`)
		c.Send(`422["x"]`)
		c.Send(`423["auth-refresh",{"token":"ann","for":90,"n":1}]`)
		c.Send(`424["auth-refresh",{"token":"ann","for":90,"n":2}]`)
		c.Expect(`434[{"error":"Too many refreshes","code":"RATE_LIMITED"}]`)
		synctest.Wait()
		c.Send(`425["y"]`)
		synctest.Wait()
		call := <-held
		if got := string(call.Event().Socket.User()); got != `{"id":"ann","n":0}` {
			t.Errorf("user after the refresh: %s", got)
		}
		call.End(nil)
		c.Expect(`431[]`, `432[]`, `433[]`, `435[]`)
		p.expect(t, "connect ann", `event x of {"id":"ann","n":0}`, `event auth-refresh of {"id":"ann","n":1}`, `event y of {"id":"ann","n":1}`)
		c.Close()
		p.expect(t, "disconnect transport close")
	})
}

// A refresh that is answered when the socket is gone
// changes nothing.
func TestRefreshAfterTheEndChangesNothing(t *testing.T) {
	d, p := newDesk(), newDiary()
	serveDesk(t, d, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Send("40")
		until := func(d time.Duration) verdict {
			v := user("ann")
			v.id.Expires = time.Now().Add(d)
			return v
		}
		(<-d.logins).answer <- until(5 * time.Second)
		c.Next()
		p.expect(t, "connect ann")
		time.Sleep(7 * time.Second)
		c.Send(`421["auth-refresh",{}]`)
		<-d.logins
		c.Expect(`42["token-expired"]`, "") // at 15 s, the refresh would end at 17 s
		p.expect(t, "disconnect token expired")
		unused(t, h)
	})
}

// TestIdentityMayChangeAtAnyTime refreshes, sends and leaves at once, for the race
// detector.
func TestIdentityMayChangeAtAnyTime(t *testing.T) {
	serveMint(t, &script{event: func(c hub.Call) {
		c.Event().Socket.User()
		c.Do(&hub.Emission{Event: "m", Args: args(`1`), Scope: hub.ToRooms, To: []hub.Address{{Kind: hub.UserRoom, Name: c.Event().Socket.UserID()}}})
		c.End(nil)
	}}, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				c := n.WebSocket(wsPath)
				for j := range 20 {
					c.Send(fmt.Sprintf(`40{"token":"u%d","for":%d}`, i%3, j%3))
					c.Send(`42["x"]`)
					c.Send(`42["auth-refresh",{"token":"u1","for":100}]`)
					if j%2 == 0 {
						c.Send(`42["x"]`)
					}
					c.Send(`41`)
				}
				time.Sleep(time.Second)
				c.Close()
			})
		}
		wg.Wait()
		unused(t, h)
	})
}
