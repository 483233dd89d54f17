//go:build faults

package guard_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/broker"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/guard"
	"github.com/caddy-realtime/realtime/internal/siotest"
	"github.com/caddy-realtime/realtime/internal/testenv"
	"github.com/caddy-realtime/realtime/internal/wsclient"
	"github.com/caddy-realtime/realtime/parser"
)

const crowd = 1000

// TestMain fails if a goroutine outlives the tests.
func TestMain(m *testing.M) { testenv.Main(m, "realtime/engine", "realtime/hub") }

// A scenario brings somebody to one place.
type scenario struct {
	place   string
	over    network
	provoke func(w *world)
	early   bool   // the place is come to before anybody speaks
	closes  bool   // the victim is closed
	hears   string // what the victim gets nevertheless
	missed  int    // messages that everybody misses
}

// network is what connections are made of.
type network string

const (
	pipe      network = "" // memory, in fake time
	tcp       network = "tcp"
	encrypted network = "tls"
)

// scenarios are all places of engine and hub.
var scenarios = []scenario{
	{place: "request", provoke: (*world).pollInVain},
	{place: "open", provoke: (*world).openInVain},
	{place: "poller", over: tcp, provoke: nothing, early: true},
	{place: "worker", over: tcp, provoke: nothing, early: true},
	{place: "wheel", provoke: nothing, early: true},
	{place: "connection", over: tcp, provoke: says(`42["e"]`), closes: true},
	{place: "reader", provoke: (*world).openInVain},
	{place: "reader", over: encrypted, provoke: says(`42["e"]`), closes: true},
	{place: "receiver", provoke: says(`42["e"]`), closes: true},
	{place: "receiver", over: tcp, provoke: says(`42["e"]`), closes: true},
	{place: "writer", provoke: (*world).speak},
	{place: "flush", provoke: (*world).say},
	{place: "flush", over: tcp, provoke: (*world).say},
	{place: "check", provoke: waits(time.Minute)},
	{place: "check", provoke: writes(unmasked), closes: true}, // whether it is gone at last
	{place: "relief", provoke: (*world).burden},
	{place: "probe", provoke: (*world).upgrade},
	{place: "upgrade", provoke: (*world).upgrade},
	{place: "payload", provoke: (*world).postDuringUpgrade},
	{place: "conclude", provoke: (*world).lurk, closes: true},
	{place: "closed", provoke: writes(closeFrame), closes: true},
	{place: "hang up", provoke: writes(closeFrame), closes: true},
	{place: "hang up", provoke: writes(unmasked), closes: true}, // by the wheel
	{place: "hang up", over: tcp, provoke: writes(closeFrame), closes: true},
	{place: "half close", provoke: writes(unmasked), closes: true},

	{place: "rule", provoke: says(`42["e"]`)},
	{place: "login", provoke: joins(`{"token":"ann"}`), closes: true},
	{place: "authenticator", provoke: joins(`{"token":"ann"}`)},
	{place: "token expiry", provoke: joins(`{"token":"brief"}`), closes: true},
	{place: "partial packet", provoke: says(`451-["e",{"_placeholder":true,"num":0}]`), closes: true},
	{place: "ask", provoke: says(`42["ask"]`), closes: true},
	{place: "batch", provoke: says(`42["batch"]`), hears: `42["batch",[1]]`},
	{place: "dedupe", provoke: says(`42["once"]`)},
	{place: "typing", provoke: (*world).typing, hears: `42["user-stopped-typing",`},
	{place: "presence", provoke: joins(`{"token":"ann"}`), hears: `42["online-users",["ann"]]`},
	{place: "namespace", provoke: (*world).visitRoom},
	{place: "recovery", provoke: (*world).lose},
	{place: "broker", provoke: (*world).speak, missed: 1},
}

const (
	closeFrame = "\x88\x80\x00\x00\x00\x00"
	unmasked   = "\x81\x01x" // not as clients send it
)

// TestPanicAtEachPlaceCostsOneClient panics once at each place, with 1,000 sockets: those that were
// not served there get everything, once and in order, and the hub closes.
func TestPanicAtEachPlaceCostsOneClient(t *testing.T) {
	for _, s := range scenarios {
		t.Run(strings.TrimSpace(s.place+" "+string(s.over)), func(t *testing.T) {
			if s.over == pipe {
				synctest.Test(t, func(t *testing.T) { s.run(t) })
			} else {
				s.run(t)
			}
		})
	}
}

func TestEveryPlaceHasAScenario(t *testing.T) {
	for _, place := range servedPlaces(t) {
		if !slices.ContainsFunc(scenarios, func(s scenario) bool { return s.place == place }) {
			t.Errorf("no scenario comes to the place %q", place)
		}
	}
}

// servedPlaces are those of engine and hub.
func servedPlaces(t *testing.T) (all []string) {
	for _, p := range module(t) {
		if name := p.files[0].Name.Name; name == "engine" || name == "hub" {
			_, runs, faults := p.places()
			all = slices.Concat(all, runs, faults)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (s scenario) run(t *testing.T) {
	w := newWorld(t, s.over)
	fired := guard.Arm("") // nowhere
	if s.early {
		fired = guard.Arm(s.place)
	}
	w.gather()
	w.victim = w.member("")
	w.speak()
	w.heard(0)
	if !s.early {
		fired = guard.Arm(s.place)
	}
	s.provoke(w)
	select {
	case <-fired:
	case <-time.After(2 * time.Minute):
		t.Fatal("nobody came to the place")
	}
	w.heard(s.missed)
	w.speak()
	w.heard(s.missed)
	if s.closes {
		w.victim.ends(t)
	}
	if s.hears != "" {
		w.victim.hears(t, s.hears)
	}
	if st := w.hub.Stats(); st.Panics+st.Engine.Panics != 1 {
		t.Errorf("%d panics of the hub and %d of the engine were counted, want one", st.Panics, st.Engine.Panics)
	}
	w.close()
}

// world is a hub with a crowd, and another node that speaks to it.
type world struct {
	t      *testing.T
	config hub.Config
	hub    *hub.Hub
	node   broker.Broker
	dial   func() (net.Conn, error)
	crowd  []*client
	victim *client
	spoken int
}

func newWorld(t *testing.T, over network) *world {
	bus := broker.NewMemory()
	here := bus.Node()
	w := &world{t: t, node: bus.Node()}
	w.config = hub.Config{
		Engine: engine.Config{Memory: 1 << 40},
		Broker: here,
		Namespaces: []hub.NamespaceConfig{
			{Name: "/", Policy: policy{}, Auth: verifier{}, Presence: hub.PresenceConfig{Announce: hub.AnnounceList}},
			{Pattern: regexp.MustCompile("/room-.*"), Policy: policy{}},
		},
	}
	w.hub = hub.New(w.config)
	t.Cleanup(func() { here.Close() })
	w.dial = serve(t, w.hub.Engine(), over)
	return w
}

// serve serves h and returns what connects to it.
func serve(t *testing.T, h http.Handler, over network) (dial func() (net.Conn, error)) {
	switch over {
	case tcp:
		site := httptest.NewServer(h)
		t.Cleanup(site.Close)
		return func() (net.Conn, error) { return net.Dial("tcp", site.Listener.Addr().String()) }
	case encrypted:
		site := httptest.NewTLSServer(h)
		t.Cleanup(site.Close)
		trust := site.Client().Transport.(*http.Transport).TLSClientConfig
		trust.ServerName = "example.com"
		return func() (net.Conn, error) { return tls.Dial("tcp", site.Listener.Addr().String(), trust) }
	}
	n := siotest.Serve(t, h)
	return func() (net.Conn, error) { return n.Dial(context.Background(), "", "") }
}

func (w *world) gather() {
	for range crowd {
		w.crowd = append(w.crowd, w.member(""))
	}
}

// say has the other node send a message to everybody.
func (w *world) say() {
	w.spoken++
	m := &broker.Message{Namespace: "/", Event: "m", JSON: fmt.Append(nil, w.spoken), All: true}
	if err := w.node.Publish(m); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) speak() {
	for range 10 {
		w.say()
	}
}

// heard checks that all but one, who must be closed then, got what was spoken.
func (w *world) heard(missed int) {
	w.t.Helper()
	want, lost := int64(w.spoken-missed), 0
	for _, c := range w.crowd {
		if !c.awaits(w.t, want) {
			lost++
		}
		if c.disorder.Load() > int64(missed) {
			w.t.Errorf("a client got messages out of order, twice or not at all")
		}
	}
	if lost > 1 {
		w.t.Errorf("%d of the crowd were closed", lost)
	}
}

func (w *world) close() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		w.hub.Close()
	}()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		w.t.Fatal("the hub does not close")
	}
	for _, c := range w.crowd {
		c.ends(w.t)
		if c.messages.Load() > int64(w.spoken) {
			w.t.Error("a client got a message twice")
		}
	}
}

// member is a client that has joined "/".
func (w *world) member(auth string) *client {
	c, err := w.open(websocketPath)
	if err != nil {
		w.t.Fatal(err)
	}
	c.write("40" + auth)
	select {
	case <-c.joined:
	case <-time.After(time.Minute):
		w.t.Fatal("nobody may join")
	}
	return c
}

const (
	websocketPath = "/socket.io/?EIO=4&transport=websocket"
	pollingPath   = "/socket.io/?EIO=4&transport=polling"
)

func (w *world) open(path string) (*client, error) {
	conn, err := w.dial()
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, r: bufio.NewReaderSize(conn, 512), joined: make(chan struct{}), over: make(chan struct{}), news: make(chan struct{}, 1), other: make(chan string, 10)}
	if err := wsclient.Open(conn, c.r, "mem", path); err != nil {
		conn.Close()
		return nil, err
	}
	go c.read()
	w.t.Cleanup(func() { conn.Close(); <-c.over })
	return c, nil
}

func nothing(*world) {}

func waits(d time.Duration) func(*world) { return func(*world) { time.Sleep(d) } }

// says has a member of the namespace send these packets.
func says(packets ...string) func(*world) {
	return func(w *world) {
		for _, p := range packets {
			w.victim.write(p)
		}
	}
}

// writes has a member write what is no packet, and wait for the end.
func writes(raw string) func(*world) {
	return func(w *world) {
		w.victim.stays.Store(true)
		w.victim.raw(raw)
	}
}

// joins has somebody join with this payload, or try to.
func joins(payload string) func(*world) {
	return func(w *world) {
		w.lurk()
		w.victim.write("40" + payload)
	}
}

// lurk opens a session that joins nothing.
func (w *world) lurk() {
	c, err := w.open(websocketPath)
	if err != nil {
		w.t.Fatal(err)
	}
	w.victim = c
}

func (w *world) openInVain() {
	if c, err := w.open(websocketPath); err == nil {
		c.ends(w.t)
	}
}

// get and post send requests of a polling client.
func (w *world) get(query string) (string, error) { return w.request(http.MethodGet, query, "") }

func (w *world) post(query, body string) (string, error) {
	return w.request(http.MethodPost, query, body)
}

func (w *world) request(method, query, content string) (string, error) {
	r, err := http.NewRequest(method, "http://mem"+pollingPath+query, strings.NewReader(content))
	if err != nil {
		return "", err
	}
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return w.dial() }, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func (w *world) pollInVain() {
	if body, err := w.get(""); err == nil {
		w.t.Errorf("the request was answered %q", body)
	}
}

// poller opens a polling session and returns what its requests add to the path.
func (w *world) poller() (query string) {
	body, err := w.get("")
	if err != nil {
		w.t.Fatal(err)
	}
	sid, _, _ := strings.Cut(strings.TrimPrefix(body, `0{"sid":"`), `"`)
	return "&sid=" + sid
}

// postDuringUpgrade has a client upgrade while it has sent more than it may.
func (w *world) postDuringUpgrade() {
	with := w.config
	with.Engine.Rates[budget.Events] = budget.Rate{PerSecond: 1, Burst: 1}
	w.hub.Update(with)
	query := w.poller()
	c, err := w.open(websocketPath + query)
	if err != nil {
		w.t.Fatal(err)
	}
	c.write("2probe")
	if body, err := w.post(query, "40\x1e42[\"e\"]\x1e42[\"e\"]"); err != nil || body != "ok" {
		w.t.Errorf("the POST was answered %q, %v", body, err)
	}
	c.ends(w.t)
	w.hub.Update(w.config)
}

// upgrade begins an upgrade and gives it up.
func (w *world) upgrade() {
	if c, err := w.open(websocketPath + w.poller()); err == nil {
		c.write("junk")
		c.ends(w.t)
	}
}

// typing has somebody begin to type before the victim, and forget it.
func (w *world) typing() {
	w.victim.write(`42["join"]`)
	w.member("").write(`42["type"]`)
}

// visitRoom joins and leaves a namespace of a pattern, and sees it go.
func (w *world) visitRoom() {
	w.victim.write(`40/room-1,`)
	w.victim.write(`41/room-1,`)
	time.Sleep(time.Minute)
	if all := w.hub.Stats().Namespaces; len(all) != 1 {
		w.t.Errorf("%d namespaces are left", len(all))
	}
}

// lose has a socket lose its connection that might be recovered, and then not.
func (w *world) lose() {
	with := w.config
	with.Recovery.Window = time.Minute
	w.hub.Update(with)
	c, err := w.open(websocketPath)
	if err != nil {
		w.t.Fatal(err)
	}
	c.write("40/room-1,")
	synctest.Wait()
	c.conn.Close()
	synctest.Wait()
	w.hub.Update(w.config)
}

// burden has the hub hold more than it may, for a moment.
func (w *world) burden() {
	w.hub.Engine().Hold(budget.Waiting, 1<<41)
	w.hub.Engine().Hold(budget.Waiting, -1<<41)
}

// client is a WebSocket that notes what it gets.
type client struct {
	conn   net.Conn
	r      *bufio.Reader
	joined chan struct{}
	over   chan struct{} // closed when nothing more comes
	news   chan struct{} // messages has grown
	other  chan string   // what came beside what is spoken, as far as there is room

	messages, disorder atomic.Int64
	stays              atomic.Bool // it does not close when the server says good-bye

	writing sync.Mutex
}

func (c *client) raw(p string) {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, _ = io.WriteString(c.conn, p) // if it is closed, the reader finds that
}

func (c *client) write(text string) {
	c.raw(string(wsclient.AppendFrame(nil, wsclient.Text, text)))
}

func (c *client) read() {
	defer close(c.over)
	defer c.conn.Close()
	last := 0
	for {
		first, p, err := wsclient.ReadFrame(c.r)
		if err != nil || first == wsclient.Close && !c.stays.Load() {
			return
		}
		text := string(p)
		switch {
		case text == "2":
			c.write("3")
		case strings.HasPrefix(text, "40{"):
			close(c.joined)
		case strings.HasPrefix(text, `42["m",`):
			var n int
			if _, err := fmt.Sscanf(text, `42["m",%d]`, &n); err != nil || n != last+1 {
				c.disorder.Add(1)
			}
			last = n
			c.messages.Add(1)
			select {
			case c.news <- struct{}{}:
			default:
			}
		default:
			select {
			case c.other <- text:
			default:
			}
		}
	}
}

// awaits waits until n messages have come; false if it was closed before.
func (c *client) awaits(t *testing.T, n int64) bool {
	t.Helper()
	for patience := time.After(10 * time.Second); c.messages.Load() < n; { // the next ping would flush what was forgotten
		select {
		case <-c.news:
		case <-c.over:
			return c.messages.Load() >= n
		case <-patience:
			t.Fatalf("a client got %d messages of %d and is not closed", c.messages.Load(), n)
		}
	}
	return true
}

// ends waits until the server has closed the connection.
func (c *client) ends(t *testing.T) {
	t.Helper()
	select {
	case <-c.over:
	case <-time.After(time.Minute):
		t.Fatal("a client is not closed")
	}
}

// hears waits until something comes that begins so.
func (c *client) hears(t *testing.T, want string) {
	t.Helper()
	for patience := time.After(time.Minute); ; {
		select {
		case got := <-c.other:
			if strings.HasPrefix(got, want) {
				return
			}
		case <-patience:
			t.Fatalf("the victim did not get %s", want)
		}
	}
}

// verifier takes the token for the user's id; without one, nobody is known.
type verifier struct{}

func (verifier) Authenticate(_ context.Context, _ *auth.Request, payload []byte) (*auth.Identity, error) {
	switch {
	case strings.Contains(string(payload), "brief"):
		return &auth.Identity{ID: "brief", Claims: []byte(`{"id":"brief"}`), Expires: time.Now().Add(time.Second)}, nil
	case strings.Contains(string(payload), "ann"):
		return &auth.Identity{ID: "ann", Claims: []byte(`{"id":"ann"}`)}, nil
	}
	return nil, nil
}

// policy does what the events are called.
type policy struct{}

func (policy) Connect(c hub.Call)    { c.End(nil) }
func (policy) Disconnect(c hub.Call) { c.End(nil) }

func (policy) Event(c hub.Call) {
	room := hub.Address{Name: "r"}
	switch c.Event().Name {
	case "ask":
		c.Suspend(true)
		c.Do(&hub.Ask{Event: "question", Args: parser.Args{}, Timeout: time.Second, Then: func(_ parser.Args, r *hub.Refusal) { c.End(r) }})
		return
	case "once":
		if r := c.Do(&hub.Once{Key: "key", TTL: time.Second, Run: func() { c.End(nil) }}); r != nil {
			c.End(r)
		}
		return
	case "batch":
		c.End(c.Do(&hub.Batch{Window: time.Second, Emission: hub.Emission{Event: "batch", Args: parser.Args{JSON: []byte("1")}}}))
	case "join":
		c.End(c.Do(&hub.Join{Rooms: []hub.Address{room}}))
	case "type":
		c.Do(&hub.Join{Rooms: []hub.Address{room}})
		c.End(c.Do(&hub.Typing{Room: room, Payload: parser.Args{JSON: []byte("{}")}}))
	default:
		c.End(nil)
	}
}
