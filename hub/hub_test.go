package hub_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/siotest"
	"github.com/caddy-realtime/realtime/parser"
)

const wsPath = "/socket.io/?EIO=4&transport=websocket"

// script is a Policy made of functions; nil ones let everything pass.
type script struct {
	connect, event, disconnect func(c hub.Call)
}

func (s *script) Connect(c hub.Call)    { call(s.connect, c) }
func (s *script) Event(c hub.Call)      { call(s.event, c) }
func (s *script) Disconnect(c hub.Call) { call(s.disconnect, c) }

func call(f func(hub.Call), c hub.Call) {
	if f == nil {
		c.End(nil)
		return
	}
	f(c)
}

// serve runs f in fake time against a hub with one namespace, "/".
func serve(t *testing.T, p hub.Policy, f func(t *testing.T, h *hub.Hub, n *siotest.Network)) {
	t.Helper()
	serveConfig(t, hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: p}}}, f)
}

func serveConfig(t *testing.T, c hub.Config, f func(t *testing.T, h *hub.Hub, n *siotest.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := hub.New(c)
		n := siotest.Serve(t, http.HandlerFunc(h.Engine().ServeHTTP))
		t.Cleanup(h.Close)
		f(t, h, n)
	})
}

func args(json string) parser.Args { return parser.Args{JSON: []byte(json)} }

func room(names ...string) (list []hub.Address) {
	for _, n := range names {
		list = append(list, hub.Address{Name: n})
	}
	return list
}

// rooms is a policy in which clients say what happens: join, leave, and
// events to be sent on.
func rooms(c hub.Call) {
	text := strings.Trim(string(c.Event().Args.JSON), `"`)
	list := strings.Split(text, ",")
	var r *hub.Refusal
	switch c.Event().Name {
	case "join":
		r = c.Do(&hub.Join{Rooms: room(list...)})
	case "leave":
		r = c.Do(&hub.Leave{Rooms: room(list...)})
	case "all":
		r = c.Do(&hub.Emission{Event: "m", Args: c.Event().Args, Scope: hub.ToAll})
	case "others":
		r = c.Do(&hub.Emission{Event: "m", Args: c.Event().Args, Scope: hub.ToAll, NotSelf: true})
	case "to":
		r = c.Do(&hub.Emission{Event: "m", Args: c.Event().Args, Scope: hub.ToRooms, To: room(list...)})
	case "except":
		r = c.Do(&hub.Emission{Event: "m", Args: c.Event().Args, Scope: hub.ToAll, Except: room(list...)})
	case "socket":
		r = c.Do(&hub.Emission{Event: "m", Args: args(`1`), Scope: hub.ToRooms, To: []hub.Address{{Kind: hub.SocketRoom, Name: text}}})
	case "user":
		r = c.Do(&hub.Emission{Event: "m", Args: args(`1`), Scope: hub.ToRooms, To: []hub.Address{{Kind: hub.UserRoom, Name: text}}})
	case "nobody":
		r = c.Do(&hub.Emission{Event: "m", Args: args(`1`), Scope: hub.ToRooms})
	}
	c.End(r)
}

func TestConnectRuleLetsInOrRefuses(t *testing.T) {
	p := &script{connect: func(c hub.Call) {
		if strings.Contains(string(c.Event().Socket.Handshake()), `"auth":{"ban":1}`) {
			c.End(&hub.Refusal{Code: hub.Invalid, Message: `no "entry"`})
			return
		}
		c.Do(&hub.Join{Rooms: room("lobby")})
		c.Do(&hub.Emission{Event: "welcome", Args: args(`{"a":1}`)})
		c.End(nil)
	}}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		id := c.Join("/", `{"x":1,"token":"t"}`)
		if len(id) != 20 || !strings.HasPrefix(id, "s_") {
			t.Errorf("socket id %q", id)
		}
		c.Expect(`42["welcome",{"a":1}]`)

		c = n.WebSocket(wsPath)
		c.Send("40/nope,")
		c.Expect(`44/nope,{"message":"Invalid namespace"}`)
		c.Send(`40{"ban":1}`)
		c.Expect(`44{"message":"no \"entry\""}`)
		c.Join("/", "") // a refusal leaves the connection usable
		c.Expect(`42["welcome",{"a":1}]`)
		c.Send("40") // connected twice
		c.Expect("")

		c = n.WebSocket(wsPath)
		c.Send(`42["early"]`)
		c.Expect("")
	})
}

// A client may ask its user for credentials before it connects; the stock
// client waits for its auth callback as long as that takes.
func TestConnectMayTake45Seconds(t *testing.T) {
	serve(t, &script{}, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		slow, silent := n.WebSocket(wsPath), n.WebSocket(wsPath)
		time.Sleep(44 * time.Second)
		slow.Join("/", "")
		time.Sleep(2 * time.Second)
		silent.Expect("")
		slow.Send(`421["e"]`)
		slow.Expect(`431[]`)
	})
}

func TestHandshakeHidesSecrets(t *testing.T) {
	seen := make(chan string, 1)
	p := &script{connect: func(c hub.Call) { seen <- string(c.Event().Socket.Handshake()); c.End(nil) }}
	conf := hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: p, Auth: verifier{}}, {Name: "/open", Policy: p}}}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.Open(wsPath+"&token=QUERY", http.Header{"Authorization": {"Bearer HEADER"}, "Cookie": {"s=COOKIE"}})
		c.Next()
		c.Join("/", `{"token":"AUTH","pid":"PID","offset":"OFFSET","name":"ann"}`)
		got := <-seen
		for _, secret := range []string{"QUERY", "HEADER", "COOKIE", "AUTH", "PID", "OFFSET"} {
			if strings.Contains(got, secret) {
				t.Errorf("handshake shows %s: %s", secret, got)
			}
		}
		if !strings.Contains(got, `"auth":{"name":"ann"}`) {
			t.Errorf("handshake without auth: %s", got)
		}
		c.Join("/open", `{"\u0074oken":"AUTH","Token":"app's","token":{"a":"AUTH"},"name":"ann"}`) // no Authenticator: hidden all the same
		if got := <-seen; !strings.Contains(got, `"auth":{"Token":"app's","name":"ann"}`) {
			t.Errorf("handshake: %s", got)
		}
	})
}

func TestEventsReachTheirTargetsOnly(t *testing.T) {
	serve(t, &script{event: rooms}, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		var c [4]*siotest.Conn
		var ids [4]string
		for i := range c {
			c[i] = n.WebSocket(wsPath)
			ids[i] = c[i].Join("/", "")
		}
		ask := func(i int, packet, answer string) {
			t.Helper()
			c[i].Send(packet)
			c[i].Expect(answer)
		}
		ask(0, `420["join","a"]`, `430[]`)
		ask(1, `420["join","a,b"]`, `430[]`)
		ask(2, `420["join","b"]`, `430[]`)
		heard := func(message string, who ...int) {
			t.Helper()
			synctest.Wait()
			for _, i := range who {
				c[i].Expect(message)
			}
			for i := range c {
				c[i].Quiet()
			}
		}
		c[0].Send(`42["to","a,b"]`)
		heard(`42["m","a,b"]`, 0, 1, 2) // each once, the sender too: it is in a
		c[3].Send(`42["others","x"]`)
		heard(`42["m","x"]`, 0, 1, 2)
		c[3].Send(`42["except","b"]`)
		heard(`42["m","b"]`, 0, 3)
		c[3].Send(`42["socket","` + ids[1] + `"]`)
		heard(`42["m",1]`, 1)
		c[3].Send(`42["nobody"]`)
		heard("")
		ask(1, `421["leave","b"]`, `431[]`)
		c[0].Send(`42["to","b"]`)
		heard(`42["m","b"]`, 2)
		c[2].Send("41")
		heard("")
		c[0].Send(`42["to","b"]`)
		heard("")

		for _, name := range []string{"user:ann", "user:", ids[1], ids[0]} {
			for _, verb := range []string{"join", "leave", "to", "except"} {
				if name != ids[0] || verb == "join" || verb == "leave" {
					ask(0, `422["`+verb+`","`+name+`"]`, `432[{"error":"Reserved room name","code":"FORBIDDEN"}]`)
				}
			}
		}
		ask(0, `423["join",""]`, `433[{"error":"Invalid room name","code":"INVALID"}]`)
		ask(0, `424["join","`+strings.Repeat("x", 257)+`"]`, `434[{"error":"Invalid room name","code":"INVALID"}]`)
	})
}

// socket.rooms, which begins with the socket's own addresses, is a good target,
// as in Node's `disconnecting`.
func TestOwnAddressesAreTargets(t *testing.T) {
	all := func(c hub.Call, event string) *hub.Refusal {
		return c.Do(&hub.Emission{Event: event, Args: args(`"` + c.Event().Socket.UserID() + `"`), Scope: hub.ToRooms, To: room(c.Event().Socket.Rooms()...), NotSelf: true})
	}
	p := &script{
		event: func(c hub.Call) {
			if c.Event().Name == "here" {
				c.End(all(c, "here"))
			} else {
				rooms(c)
			}
		},
		disconnect: func(c hub.Call) { c.End(all(c, "gone")) },
	}
	c := hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: p, Auth: verifier{}}}}
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		join := func(user, room string) *siotest.Conn {
			c := n.WebSocket(wsPath)
			c.Join("/", `{"token":"`+user+`"}`)
			c.Send(`420["join","` + room + `"]`)
			c.Expect(`430[]`)
			return c
		}
		ann, phone, bob, eve := join("ann", "r"), join("ann", "phone"), join("bob", "r"), join("bob", "other")
		ann.Send(`421["here"]`)
		ann.Expect(`431[]`)
		phone.Expect(`42["here","ann"]`)
		bob.Expect(`42["here","ann"]`)
		for i := range 127 { // and as many rooms as a socket may be in
			ann.Send(fmt.Sprintf(`422["join","r%d"]`, i))
			ann.Expect(`432[]`)
		}
		ann.Send("41")
		phone.Expect(`42["gone","ann"]`)
		bob.Expect(`42["gone","ann"]`)
		synctest.Wait()
		for _, c := range []*siotest.Conn{ann, phone, bob, eve} {
			c.Quiet()
		}
	})
}

func TestAListOfTooManyRoomsSaysHowMany(t *testing.T) {
	serve(t, &script{event: rooms}, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		for _, verb := range []string{"join", "leave", "to", "except"} {
			c.Send(`420["` + verb + `","r` + strings.Repeat(",r", 128) + `"]`)
			c.Expect(`430[{"error":"Too many rooms: 129, at most 128","code":"INVALID"}]`)
		}
	})
}

func TestRoomsOfASocketAreBounded(t *testing.T) {
	serve(t, &script{event: rooms}, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		for i := range 129 {
			c.Send(fmt.Sprintf(`42%d["join","room%d"]`, i, i))
		}
		for i := range 128 {
			c.Expect(fmt.Sprintf(`43%d[]`, i))
		}
		c.Expect(`43128[{"error":"Too many rooms: at most 128","code":"LIMIT"}]`)
	})
}

func TestUpdateReplacesPoliciesAndNamespaces(t *testing.T) {
	answer := func(s string) *script {
		return &script{event: func(c hub.Call) { c.Do(&hub.Ack{Args: args(s)}); c.End(nil) }}
	}
	config := func(p hub.Policy, names ...string) hub.Config {
		c := hub.Config{}
		for _, n := range names {
			c.Namespaces = append(c.Namespaces, hub.NamespaceConfig{Name: n, Policy: p})
		}
		return c
	}
	serveConfig(t, config(answer("1"), "/", "/chat"), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Join("/chat", "")
		c.Send(`420["e"]`)
		c.Expect(`430[1]`)
		h.Update(config(answer("2"), "/"))
		c.Expect("41/chat,")
		c.Send(`42/chat,["crossed"]`) // sent before the client knew: ignored
		c.Send(`421["e"]`)
		c.Expect(`431[2]`)
		c.Send("40/chat,")
		c.Expect(`44/chat,{"message":"Invalid namespace"}`)
		h.Update(config(answer("3"), "/", "/chat"))
		c.Join("/chat", "")
		c.Send(`42/chat,2["e"]`)
		c.Expect(`43/chat,2[3]`)
	})
}

// Namespaces that the server removed a
// client from are free again.
func TestKickedSocketsCountForNothing(t *testing.T) {
	conf := hub.Config{Namespaces: []hub.NamespaceConfig{{
		Pattern: regexp.MustCompile(`/n\d+`),
		Policy:  &script{event: func(c hub.Call) { c.Do(&hub.Disconnect{}); c.End(nil) }},
	}}}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		for i := range 40 {
			ns := fmt.Sprintf("/n%d", i)
			c.Join(ns, "")
			c.Send("42" + ns + `,["kick"]`)
			c.Expect("41" + ns + ",")
		}
		for i := range 16 {
			c.Join(fmt.Sprintf("/n%d", 100+i), "")
		}
		c.Send("40/n200,")
		c.Expect(`44/n200,{"message":"Too many namespaces","data":{"code":"LIMIT"}}`)
	})
}

// A mistake that an honest client may make costs what it is in, not the
// connection.
func TestHonestMistakeCostsOnePacket(t *testing.T) {
	placeholders := func(n int) (s string) {
		for i := range n {
			s += fmt.Sprintf(`,{"_placeholder":true,"num":%d}`, i)
		}
		return s
	}
	long := strings.Repeat("a", 129)
	m := new(budget.Memory)
	conf := hub.Config{Engine: engine.Config{MaxPayload: 10_000, UsedMemory: m}, Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{event: rooms}}}}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		for _, step := range []struct {
			packet      string
			attachments int // of 1000 bytes
			answer      string
		}{
			{`421["a\n",1]`, 0, `431[{"error":"event: control character in the name","code":"INVALID"}]`},
			{`42["a\u0085"]`, 0, `42["error",{"code":"INVALID","message":"event: control character in the name","event":""}]`},
			{`422["` + long + `"]`, 0, `432[{"error":"event: name longer than 128 bytes","code":"TOO_LARGE"}]`},
			{`423["join"` + strings.Repeat(",0", 65) + `]`, 0, `433[{"error":"args: 65 arguments, at most 64","code":"TOO_LARGE"}]`},
			{`4511-4["join"` + placeholders(11) + `]`, 11, `434[{"error":"args: 11 binary values, at most 10","code":"TOO_LARGE"}]`},
			{`4510-5["join"` + placeholders(10) + `]`, 10, `435[{"error":"args: more than 10000 bytes with the binary values","code":"TOO_LARGE"}]`},
			{`452-6["\n"` + placeholders(2) + `]`, 2, `436[{"error":"event: control character in the name","code":"INVALID"}]`},
			{`40/` + long + `,`, 0, `44/` + long + `,{"message":"Invalid namespace"}`},
			{`427["join","a"]`, 0, `437[]`},
		} {
			c.Send(step.packet)
			for range step.attachments {
				c.SendBinary(make([]byte, 1000))
			}
			c.Expect(step.answer)
			synctest.Wait()
			if held := heldInput(m); held != 0 {
				t.Errorf("%.30s: %d bytes of input are held", step.packet, held)
			}
		}
		// The protocol demands the end; the client knows why.
		d := n.WebSocket(wsPath)
		d.Send(`40"token"`)
		d.Expect(`44{"message":"auth: must be an object"}`, "")
	})
}

func heldInput(m *budget.Memory) (held int64) {
	m.Each(func(use string, bytes int64) {
		if use == budget.Input.String() {
			held = bytes
		}
	})
	return held
}

// What a client can make the server keep of a packet that will be refused does
// not grow with its attachments.
func TestRefusedAttachmentsAreNotKept(t *testing.T) {
	m := new(budget.Memory)
	conf := hub.Config{Engine: engine.Config{UsedMemory: m}, Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{event: rooms}}}}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`453-["join",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1},{"_placeholder":true,"num":2}]`)
		for _, kept := range []int{900_000, 0} {
			c.SendBinary(make([]byte, 900_000))
			synctest.Wait()
			if held := heldInput(m); held < int64(kept) || held > int64(kept)+200 {
				t.Errorf("%d bytes of input are held, want about %d", held, kept)
			}
		}
		c.SendBinary(nil)
		c.Expect(`42["error",{"code":"TOO_LARGE","message":"args: more than 1000000 bytes with the binary values","event":"join"}]`)
	})
}

func TestConnectJoinsCountRooms(t *testing.T) {
	p := &script{connect: func(c hub.Call) {
		for range 200 {
			if r := c.Do(&hub.Join{Rooms: room("same")}); r != nil {
				c.End(r)
				return
			}
		}
		c.End(nil)
	}}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) { n.WebSocket(wsPath).Join("/", "") })
}

func TestPatternMakesNamespacesUpToTheLimit(t *testing.T) {
	c := hub.Config{DynamicNamespaces: 2, Namespaces: []hub.NamespaceConfig{
		{Pattern: regexp.MustCompile(`/room-\d+|/x`), Policy: &script{event: rooms}},
	}}
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		a, b := n.WebSocket(wsPath), n.WebSocket(wsPath)
		a.Join("/room-1", "")
		b.Join("/room-1", "")
		b.Join("/room-2", "")
		a.Send(`42/room-1,["all","x"]`)
		a.Expect(`42/room-1,["m","x"]`)
		b.Expect(`42/room-1,["m","x"]`)
		a.Send("40/room-12x,")
		a.Expect(`44/room-12x,{"message":"Invalid namespace"}`)
		b.Send("41/room-2")
		synctest.Wait()
		if got := len(h.Stats().Namespaces); got != 2 {
			t.Errorf("%d namespaces right after the last socket left one", got)
		}
		a.Join("/room-3", "") // takes the place of the one that nobody is in
		a.Send("40/room-4,")  // one too many: passing, so no CONNECT_ERROR
		a.Expect("")
	})
}

func TestEmptyNamespaceOfAPatternExpires(t *testing.T) {
	refuse := func(c hub.Call) { c.End(&hub.Refusal{Code: hub.Forbidden, Message: "No"}) }
	c := hub.Config{Namespaces: []hub.NamespaceConfig{
		{Name: "/", Policy: &script{}},
		{Pattern: regexp.MustCompile(`/no-\d+`), Policy: &script{connect: refuse}},
		{Pattern: regexp.MustCompile(`/room-\d+`), Policy: &script{event: rooms}},
	}}
	serveConfig(t, c, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		count := func(want int) {
			t.Helper()
			synctest.Wait()
			if got := len(h.Stats().Namespaces); got != want {
				t.Errorf("%d namespaces, want %d", got, want)
			}
		}
		a := n.WebSocket(wsPath)
		a.Join("/", "")
		for i := range 5 { // of those that nobody gets into, nothing is left
			a.Send(fmt.Sprintf("40/no-%d,", i))
			a.Expect(fmt.Sprintf(`44/no-%d,{"message":"No"}`, i))
		}
		count(1)
		for i := range 5 {
			name := fmt.Sprintf("/room-%d", i)
			a.Join(name, "")
			a.Send("41" + name + ",")
		}
		count(6)
		time.Sleep(20 * time.Second)
		a.Join("/room-0", "")
		count(6)
		time.Sleep(20 * time.Second)
		count(2)
		a.Close()
		time.Sleep(31 * time.Second)
		count(1)
	})
}

func TestDisconnectTellsItsReason(t *testing.T) {
	reasons := make(chan string, 10)
	p := &script{
		event: func(c hub.Call) { c.Do(&hub.Disconnect{CloseAll: c.Event().Name == "all"}); c.End(nil) },
		disconnect: func(c hub.Call) {
			reasons <- c.Event().Namespace + " " + c.Event().Reason
			c.End(nil)
		},
	}
	conf := hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: p}, {Name: "/b", Policy: p}}}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Join("/b", "")
		c.Send(`42["me"]`)
		c.Expect("41")
		if got := <-reasons; got != "/ server namespace disconnect" {
			t.Error(got)
		}
		c.Join("/", "")
		c.Send(`42["all"]`)
		c.Expect("41", "41/b,", "")
		for range 2 {
			if got := <-reasons; !strings.HasSuffix(got, " server namespace disconnect") {
				t.Error(got)
			}
		}
		c = n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send("41")
		if got := <-reasons; got != "/ client namespace disconnect" {
			t.Error(got)
		}
	})
}

func TestDisconnectRuleStillSeesTheRooms(t *testing.T) {
	p := &script{event: rooms, disconnect: func(c hub.Call) {
		names := c.Event().Socket.Rooms()
		c.Do(&hub.Emission{Event: "left", Args: args(`"` + c.Event().Socket.ID() + `"`), Scope: hub.ToRooms, To: room(names[1:]...), NotSelf: true})
		c.End(nil)
	}}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		a, b := n.WebSocket(wsPath), n.WebSocket(wsPath)
		id := a.Join("/", "")
		b.Join("/", "")
		for _, c := range []*siotest.Conn{a, b} {
			c.Send(`420["join","x,y"]`)
			c.Expect(`430[]`)
		}
		a.Close()
		b.Expect(`42["left","` + id + `"]`)
		synctest.Wait()
		b.Quiet()
	})
}

// verifier is an Authenticator whose answer the client chooses.
type verifier struct{}

func (verifier) Authenticate(_ context.Context, _ *auth.Request, payload []byte) (*auth.Identity, error) {
	switch string(payload) {
	case "":
		return nil, auth.ErrNoToken
	case `{"token":"bad"}`:
		return nil, fmt.Errorf("%w: expired", auth.ErrInvalidToken)
	case `{"token":"down"}`:
		return nil, errors.New("keys unreachable")
	}
	id := "ann"
	if string(payload) == `{"token":"bob"}` {
		id = "bob"
	}
	return &auth.Identity{ID: id, Claims: []byte(`{"id":"` + id + `"}`)}, nil
}

func TestIdentityDecidesWhoGetsIn(t *testing.T) {
	conf := hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{event: rooms}, Auth: verifier{}}}}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Send("40")
		c.Expect(`44{"message":"Authentication error"}`)
		c.Send(`40{"token":"bad"}`)
		c.Expect(`44{"message":"Invalid token"}`)
		c.Send(`40{"token":"down"}`) // passing trouble: the client may try again
		c.Expect("")

		one, two := n.WebSocket(wsPath), n.WebSocket(wsPath)
		one.Join("/", `{"token":"good"}`)
		two.Join("/", `{"token":"good"}`)
		one.Send(`42["user","ann"]`)
		one.Expect(`42["m",1]`)
		two.Expect(`42["m",1]`)
	})
}

func TestAttachmentsComeBackAsTheyWere(t *testing.T) {
	p := &script{event: func(c hub.Call) {
		c.End(c.Do(&hub.Emission{Event: "back", Args: c.Event().Args}))
	}}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`452-["b",{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}}]`)
		c.SendBinary([]byte{1, 2})
		c.SendBinary([]byte{3})
		c.Expect(`452-["back",{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}}]`, "b:0102", "b:03")
		for _, bad := range []string{`451-["b",{"_placeholder":true,"num":7}]`, `4510000-["b"]`} {
			c := n.WebSocket(wsPath)
			c.Join("/", "")
			c.Send(bad)
			c.SendBinary([]byte{1})
			c.Expect("")
		}
	})
}

// Attachments that never come do not keep a packet for ever.
func TestBegunPacketIsNotKeptForEver(t *testing.T) {
	serve(t, &script{}, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`452-["b",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
		c.SendBinary([]byte{1})
		began := time.Now()
		c.Expect("")
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("closed after %s", took)
		}
	})
}
