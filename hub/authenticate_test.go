package hub_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

// desk is an Authenticator that asks somebody: each login waits until the test
// decides it, or until its context ends.
type desk struct{ logins chan login }

type login struct {
	payload string
	answer  chan<- verdict
}

type verdict struct {
	id  *auth.Identity
	err error
}

func newDesk() desk { return desk{make(chan login, 10_000)} }

func (d desk) Authenticate(ctx context.Context, r *auth.Request, payload []byte) (*auth.Identity, error) {
	if string(payload) == `{"token":"panic"}` {
		panic("boom")
	}
	answer := make(chan verdict)
	d.logins <- login{string(payload), answer}
	select {
	case v := <-answer:
		return v.id, v.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func user(id string) verdict {
	return verdict{id: &auth.Identity{ID: id, Claims: []byte(`{"id":"` + id + `"}`)}}
}

// let lets c into the namespace as that user.
func (d desk) let(t *testing.T, c *siotest.Conn, namespace, id string) {
	t.Helper()
	c.Send("40" + namespace + ",")
	(<-d.logins).answer <- user(id)
	if m := c.Next(); !strings.HasPrefix(m, "40"+namespace+`,{"sid":"s_`) {
		t.Fatalf("CONNECT: %s", m)
	}
}

// diary is a Policy that notes what it is told.
type diary struct {
	script
	notes chan string
}

func newDiary() *diary {
	d := &diary{notes: make(chan string, 1000)}
	d.connect = func(c hub.Call) { d.notes <- "connect " + c.Event().Socket.UserID(); c.End(nil) }
	d.event = func(c hub.Call) {
		d.notes <- "event " + c.Event().Name + " of " + string(c.Event().Socket.User())
		c.End(nil)
	}
	d.disconnect = func(c hub.Call) { d.notes <- "disconnect " + c.Event().Reason; c.End(nil) }
	return d
}

func (d *diary) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	for _, w := range want {
		select {
		case got := <-d.notes:
			if got != w {
				t.Errorf("policy was told %q, want %q", got, w)
			}
		default:
			t.Errorf("policy was not told %q", w)
		}
	}
	select {
	case got := <-d.notes:
		t.Errorf("policy was told %q", got)
	default:
	}
}

// serveDesk serves "/" and what matches /room-.* by d and p; a namespace of
// the pattern exists as long as somebody has a reference to it.
func serveDesk(t *testing.T, a hub.Authenticator, p hub.Policy, f func(t *testing.T, h *hub.Hub, n *siotest.Network)) {
	t.Helper()
	serveConfig(t, hub.Config{
		Engine: engine.Config{Plain: true},
		Namespaces: []hub.NamespaceConfig{
			{Name: "/", Policy: p, Auth: a},
			{Pattern: regexp.MustCompile("/room-.*"), Policy: p, Auth: a},
		},
	}, f)
}

// unused fails the test if a namespace of the pattern, or a socket, is left.
func unused(t *testing.T, h *hub.Hub) {
	t.Helper()
	time.Sleep(time.Minute) // one of a pattern stays for a while
	synctest.Wait()
	for _, n := range h.Stats().Namespaces {
		if n.Name != "/" || n.Sockets > 0 {
			t.Errorf("namespace %s is left with %d sockets", n.Name, n.Sockets)
		}
	}
}

// Authentication keeps neither the reader nor another
// namespace; what the client sends meanwhile runs after CONNECT, in order.
func TestLoginHoldsUpItsNamespaceOnly(t *testing.T) {
	d, p := newDesk(), newDiary()
	serveDesk(t, d, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Send(`40/room-1,{"token":"a"}`)
		first := <-d.logins
		c.Send(`42/room-1,1["one"]`)
		c.Send(`42/room-1,2["two"]`)
		c.Send(`40/room-2,{"token":"b"}`)
		second := <-d.logins
		if first.payload != `{"token":"a"}` || second.payload != `{"token":"b"}` {
			t.Errorf("payloads %s, %s", first.payload, second.payload)
		}
		time.Sleep(5 * time.Second)
		c.Quiet()
		second.answer <- user("bob")
		if m := c.Next(); !strings.HasPrefix(m, `40/room-2,{"sid":"s_`) {
			t.Errorf("CONNECT: %s", m)
		}
		first.answer <- user("ann")
		if m := c.Next(); !strings.HasPrefix(m, `40/room-1,{"sid":"s_`) {
			t.Errorf("CONNECT: %s", m)
		}
		c.Expect(`43/room-1,1[]`, `43/room-1,2[]`)
		p.expect(t, "connect bob", "connect ann", `event one of {"id":"ann"}`, `event two of {"id":"ann"}`)
	})
}

// What a client that is not let in has sent never runs.
func TestEventsOfARefusedClientNeverRun(t *testing.T) {
	d, p := newDesk(), newDiary()
	p.connect = func(c hub.Call) { c.End(&hub.Refusal{Code: hub.Invalid, Message: "no"}) }
	serveDesk(t, d, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		for v, want := range map[verdict]string{
			{err: auth.ErrInvalidToken}: `44/room-1,{"message":"Invalid token"}`,
			{err: auth.ErrNoToken}:      `44/room-1,{"message":"Authentication error"}`,
			user("ann"):                 `44/room-1,{"message":"no"}`,
			{err: errors.New("down")}:   "",
		} {
			c := n.WebSocket(wsPath)
			c.Send(`40/room-1,`)
			l := <-d.logins
			c.Send(`42/room-1,1["one"]`)
			synctest.Wait()
			l.answer <- v
			c.Expect(want)
			p.expect(t)
			unused(t, h)
		}
	})
}

// A client that leaves while it is authenticated never
// gets into the namespace, and no rule hears of it.
func TestAbandonedLoginEntersNothing(t *testing.T) {
	for name, leave := range map[string]func(c *siotest.Conn, h *hub.Hub){
		"connection lost":   func(c *siotest.Conn, h *hub.Hub) { c.Close() },
		"namespace left":    func(c *siotest.Conn, h *hub.Hub) { c.Send("41/room-1,") },
		"protocol violated": func(c *siotest.Conn, h *hub.Hub) { c.Send("nonsense") },
		"second CONNECT":    func(c *siotest.Conn, h *hub.Hub) { c.Send("40/room-1,") },
		"hub closed":        func(c *siotest.Conn, h *hub.Hub) { h.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			d, p := newDesk(), newDiary()
			serveDesk(t, d, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
				c := n.WebSocket(wsPath)
				c.Send(`40/room-1,`)
				l := <-d.logins
				c.Send(`42/room-1,["one"]`)
				synctest.Wait()
				leave(c, h)
				synctest.Wait()
				select {
				case l.answer <- user("ann"):
					t.Error("the login was not cancelled")
				default:
				}
				p.expect(t)
				unused(t, h)
			})
		})
	}
}

// stubborn answers when the test says, whatever becomes of its context.
type stubborn struct{ desk }

func (s stubborn) Authenticate(_ context.Context, r *auth.Request, payload []byte) (*auth.Identity, error) {
	return s.desk.Authenticate(context.Background(), r, payload)
}

// The answer comes when the socket is gone.
func TestLoginAnsweredTooLate(t *testing.T) {
	d, p := newDesk(), newDiary()
	serveDesk(t, stubborn{d}, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Send(`40/room-1,`)
		l := <-d.logins
		c.Send(`42/room-1,["one"]`)
		c.Send(`41/room-1,`)
		c.Send(`40/room-1,`) // again, while the first still runs
		again := <-d.logins
		l.answer <- user("bob")
		synctest.Wait()
		c.Quiet()
		again.answer <- user("ann")
		if m := c.Next(); !strings.HasPrefix(m, `40/room-1,{"sid":"s_`) {
			t.Errorf("CONNECT: %s", m)
		}
		p.expect(t, "connect ann")
	})
}

// The client leaves while on connect runs.
func TestGoneWhileRuleRuns(t *testing.T) {
	d, p := newDesk(), newDiary()
	p.connect = func(c hub.Call) {
		time.Sleep(time.Second)
		c.Do(&hub.Emission{Event: "welcome"})
		c.End(nil)
	}
	serveDesk(t, d, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Send(`40/room-1,`)
		(<-d.logins).answer <- user("ann")
		synctest.Wait()
		c.Send(`42/room-1,["one"]`)
		c.Send(`41/room-1,`)
		time.Sleep(2 * time.Second)
		c.Quiet()
		p.expect(t)
		unused(t, h)
	})
}

// soon fails the test unless a session is closed for a passing trouble: 2 to 5 s
// after it began.
func soon(t *testing.T, c *siotest.Conn, began time.Time) {
	t.Helper()
	c.Expect("")
	if took := time.Since(began); took < 2*time.Second || took > 5*time.Second+250*time.Millisecond {
		t.Errorf("closed after %s, want 2 to 5 s", took)
	}
}

// Nobody waits for ever for an Authenticator.
func TestLoginHasATimeLimit(t *testing.T) {
	d, p := newDesk(), newDiary()
	serveDesk(t, d, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		d.let(t, c, "/room-1", "ann")
		began := time.Now()
		c.Send(`40/room-2,`)
		soon(t, c, began.Add(10*time.Second)) // the client tries again
		p.expect(t, "connect ann", "disconnect forced close")
		unused(t, h)
	})
}

// A passing trouble closes the transport after a pause, in which the other
// namespaces work and the one in trouble is silent, whatever is sent to it.
func TestPauseBeforePassingClose(t *testing.T) {
	d, p := newDesk(), newDiary()
	serveDesk(t, d, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		d.let(t, c, "/room-1", "ann")
		c.Send(`40/room-2,`)
		(<-d.logins).answer <- verdict{err: errors.New("down")}
		synctest.Wait()
		began := time.Now()
		c.Send(`42/room-2,1["early"]`)
		c.Send(`41/room-2,`)
		c.Send(`40/room-2,`)
		c.Send(`40/room-3,`)
		c.Send(`42/room-1,2["e"]`)
		c.Expect(`43/room-1,2[]`)
		soon(t, c, began)
		if len(d.logins) > 0 {
			t.Fatal("another login on a connection that is to be closed")
		}
		p.expect(t, "connect ann", `event e of {"id":"ann"}`, "disconnect forced close")
		unused(t, h)

		plain := n.Open("/socket.io/", nil)
		(<-d.logins).answer <- verdict{err: errors.New("down")}
		soon(t, plain, time.Now())
	})
}

// The pauses of many clients differ, and closing the hub ends them all.
func TestPausesBeforePassingClose(t *testing.T) {
	d := newDesk()
	serveDesk(t, d, newDiary(), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		began := time.Now()
		fail := func() *siotest.Conn {
			c := n.WebSocket(wsPath)
			c.Send(`40`)
			(<-d.logins).answer <- verdict{err: errors.New("down")}
			return c
		}
		var all []*siotest.Conn
		for range 30 {
			all = append(all, fail())
		}
		ends := make(chan time.Duration, len(all))
		for _, c := range all {
			go func() { c.Next(); ends <- time.Since(began) }()
		}
		different := map[time.Duration]bool{}
		for range all {
			different[<-ends/time.Second] = true
		}
		if len(different) < 3 {
			t.Errorf("all are closed within %d seconds of each other", len(different))
		}
		c := fail()
		synctest.Wait()
		began = time.Now()
		h.Close()
		c.Expect("")
		if took := time.Since(began); took != 0 {
			t.Errorf("the shutdown took %s", took)
		}
	})
}

func TestPanicOfAnAuthenticatorEndsTheConnection(t *testing.T) {
	for _, a := range []hub.Authenticator{newDesk(), prompt{newDesk()}} {
		p := newDiary()
		serveDesk(t, a, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
			c := n.WebSocket(wsPath)
			c.Send(`40/room-1,{"token":"panic"}`)
			c.Expect("")
			p.expect(t)
			unused(t, h)
			if got := h.Stats().Panics; got != 1 {
				t.Errorf("%d panics counted", got)
			}
		})
	}
}

// The rules are those of the moment at which the socket
// joins, and a namespace that is gone by then has no sockets.
func TestLoginMeetsTheRulesOfItsEnd(t *testing.T) {
	d, before, after := newDesk(), newDiary(), newDiary()
	serveDesk(t, d, before, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Send(`40`)
		stays := <-d.logins
		c.Send(`40/room-1,`)
		goes := <-d.logins
		h.Update(hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: after}}})
		goes.answer <- user("ann")
		c.Expect(`44/room-1,{"message":"Invalid namespace"}`)
		stays.answer <- user("ann")
		if m := c.Next(); !strings.HasPrefix(m, `40{"sid":"s_`) {
			t.Errorf("CONNECT: %s", m)
		}
		before.expect(t, "connect ann") // and nothing came of it
		after.expect(t, "connect ann")
		if got := h.Stats().Namespaces; len(got) != 1 || got[0].Sockets != 1 {
			t.Errorf("namespaces: %+v", got)
		}
	})
}

// One client has no more logins than namespaces, whatever it
// does; it costs its connection.
func TestLoginsOfAClientAreBounded(t *testing.T) {
	d, p := newDesk(), newDiary()
	serveDesk(t, stubborn{d}, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		for range 40 {
			c.Send(`40/room-1,`)
			c.Send(`41/room-1,`)
		}
		c.Expect("")
		synctest.Wait()
		if got := len(d.logins); got != 16 {
			t.Errorf("%d logins", got)
		}
		for range 16 {
			(<-d.logins).answer <- user("ann")
		}
		p.expect(t)
		unused(t, h)
	})
}

// Clients that come while too many are being authenticated
// try again.
func TestLoginsOfAHub(t *testing.T) {
	d, p := newDesk(), newDiary()
	serveDesk(t, d, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		for i := range 4 * runtime.GOMAXPROCS(0) {
			c := n.WebSocket(wsPath)
			for j := range 16 {
				c.Send(fmt.Sprintf(`40/room-%d,`, 16*i+j))
			}
		}
		synctest.Wait()
		c := n.WebSocket(wsPath)
		c.Send("40")
		c.Expect("")
		if got, want := len(d.logins), 64*runtime.GOMAXPROCS(0); got != want {
			t.Errorf("%d logins, want %d", got, want)
		}
		(<-d.logins).answer <- verdict{err: auth.ErrNoToken}
		synctest.Wait()
		c = n.WebSocket(wsPath)
		c.Send("40")
		synctest.Wait()
		for len(d.logins) > 1 {
			<-d.logins
		}
		(<-d.logins).answer <- user("ann")
		if m := c.Next(); !strings.HasPrefix(m, `40{"sid":"s_`) {
			t.Errorf("CONNECT: %s", m)
		}
	})
}

// prompt is an Authenticator that never blocks.
type prompt struct{ hub.Authenticator }

func (prompt) NeverBlocks() bool { return true }

// What follows CONNECT in the same breath finds the
// socket joined.
func TestLoginThatNeverBlocks(t *testing.T) {
	p := newDiary()
	serveDesk(t, prompt{verifier{}}, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Send(`40{"token":"bad"}`)
		c.Expect(`44{"message":"Invalid token"}`)
		c.Join("/", `{"token":"good"}`)
		c.Send(`421["one"]`)
		c.Expect(`431[]`)
		p.expect(t, "connect ann", `event one of {"id":"ann"}`)
		c.Send(`40/room-1,{"token":"down"}`)
		c.Expect("")
		p.expect(t, "disconnect forced close")
		unused(t, h)
	})
}

// A plain client may have a token in its request or in its
// first frame, and may send that before the first is found missing.
func TestPlainClientSendsItsTokenInRequestOrFrame(t *testing.T) {
	const open = `,"user":{"id":"ann"},"ping":25000}}`
	for name, f := range map[string]func(t *testing.T, d desk, c *siotest.Conn){
		"token in the request": func(t *testing.T, d desk, c *siotest.Conn) {
			(<-d.logins).answer <- user("ann")
		},
		"token in a frame": func(t *testing.T, d desk, c *siotest.Conn) {
			(<-d.logins).answer <- verdict{err: auth.ErrNoToken}
			synctest.Wait()
			c.Send(`{"auth":{"token":"t"}}`)
			l := <-d.logins
			if l.payload != `{"token":"t"}` {
				t.Errorf("payload %s", l.payload)
			}
			l.answer <- user("ann")
		},
		"token in an early frame": func(t *testing.T, d desk, c *siotest.Conn) {
			<-d.logins // cancelled
			c.Send(`{"auth":{"token":"t"}}`)
			l := <-d.logins
			if l.payload != `{"token":"t"}` {
				t.Errorf("payload %s", l.payload)
			}
			l.answer <- user("ann")
		},
		"token in the request, and an early event": func(t *testing.T, d desk, c *siotest.Conn) {
			l := <-d.logins
			c.Send(`{"event":"x"}`)
			synctest.Wait()
			l.answer <- user("ann")
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, p := newDesk(), newDiary()
			serveDesk(t, d, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
				c := n.Open("/socket.io/", nil)
				synctest.Wait()
				f(t, d, c)
				if m := c.Next(); !strings.HasSuffix(m, open) {
					t.Errorf("open: %s", m)
				}
				c.Send(`{"event":"y","id":1}`)
				c.Expect(`{"ack":1,"args":[]}`)
			})
		})
	}
}

// The first frame that says nothing of a token waits
// for what the request said.
func TestPlainFrameWithoutTokenWaitsForTheLogin(t *testing.T) {
	for name, early := range map[string]bool{"early": true, "late": false} {
		t.Run(name, func(t *testing.T) {
			d, p := newDesk(), newDiary()
			serveDesk(t, d, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
				c := n.Open("/socket.io/", nil)
				l := <-d.logins
				if early {
					c.Send(`{"event":"x","id":1}`)
					synctest.Wait()
					l.answer <- verdict{}
				} else {
					l.answer <- verdict{}
					synctest.Wait()
					c.Quiet()
					c.Send(`{"event":"x","id":1}`)
					(<-d.logins).answer <- verdict{}
				}
				if m := c.Next(); !strings.Contains(m, `"user":null`) {
					t.Errorf("open: %s", m)
				}
				c.Expect(`{"ack":1,"args":[]}`)
				p.expect(t, "connect ", "event x of ")
			})
		})
	}
}
