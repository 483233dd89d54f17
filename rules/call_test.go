package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/caddyrules"
	"github.com/caddy-realtime/realtime/parser"
	"github.com/caddy-realtime/realtime/rules"
)

// fakeCall records what a rule does, one line for each call.
type fakeCall struct {
	chosen []string // by the client
	socket fakeSocket
	event  hub.Event
	name   string
	args   parser.Args
	reason string
	done   []string
	ended  int
	asked  func(parser.Args, *hub.Refusal)
	limit  bool   // refuse joins, tokens and keys
	waits  bool   // for another call with the same key
	resume func() // what it waits with
	kept   int    // bytes of variables

	worked time.Duration
	kicked bool
}

type fakeSocket struct {
	id, user  string
	claims    string
	data      string
	handshake string
	rooms     []string
}

func (s *fakeSocket) ID() string     { return s.id }
func (s *fakeSocket) UserID() string { return s.user }
func (s *fakeSocket) User() []byte {
	if s.claims == "" {
		return nil
	}
	return []byte(s.claims)
}
func (s *fakeSocket) Data() []byte      { return []byte(s.data) }
func (s *fakeSocket) Handshake() []byte { return []byte(s.handshake) }
func (s *fakeSocket) Recovered() bool   { return false }
func (s *fakeSocket) Rooms() []string   { return s.rooms }
func (s *fakeSocket) InRoom(a hub.Address) bool {
	room := a.WireName()
	for _, r := range s.rooms {
		if r == room {
			return true
		}
	}
	return false
}

const socketID = "s_aaaaaaaaaaaaaaaaaa"

func newCall(event, args string) *fakeCall {
	return &fakeCall{
		name: event, args: parser.Args{JSON: []byte(args)},
		socket: fakeSocket{id: socketID, data: `{}`, handshake: `{"address":"127.0.0.1","query":{"v":"1"},"auth":{"n":7}}`, rooms: []string{socketID}},
	}
}

func (c *fakeCall) as(user string) *fakeCall {
	c.socket.user, c.socket.claims = user, fmt.Sprintf(`{"id":%q,"roles":["admin"],"org":"acme"}`, user)
	c.socket.rooms = append(c.socket.rooms, "user:"+user)
	return c
}

func (c *fakeCall) in(rooms ...string) *fakeCall {
	c.socket.rooms = append(c.socket.rooms, rooms...)
	return c
}

func (c *fakeCall) record(format string, args ...any) {
	c.done = append(c.done, fmt.Sprintf(format, args...))
}

func (c *fakeCall) Event() *hub.Event {
	c.event = hub.Event{Name: c.name, Namespace: "/", Args: c.args, Reason: c.reason, Socket: &c.socket}
	return &c.event
}
func (c *fakeCall) Directory() hub.Directory { return fakeDirectory{} }
func (c *fakeCall) Kicked() bool             { return c.kicked }
func (c *fakeCall) Worked(d time.Duration)   { c.worked += d }
func (c *fakeCall) Keep(bytes int)           { c.kept += bytes }

type fakeDirectory struct{}

func (fakeDirectory) MemberCount(a hub.Address) int  { return len(a.Name) }
func (fakeDirectory) Members(a hub.Address) []string { return []string{"member of " + a.Name} }
func (fakeDirectory) Online() []string               { return []string{"a", "b"} }
func (fakeDirectory) IsOnline(user string) bool      { return user == "a" }
func (fakeDirectory) LastSeen(user string) int64     { return int64(len(user)) }

func (c *fakeCall) Suspend(hold bool) {
	c.record("suspend hold=%v", hold)
	old := c.args.JSON
	c.args.JSON = append([]byte(nil), old...)
	c.event.Args = c.args
	for i := range old { // what was there before is not valid any more
		old[i] = '!'
	}
}

func (c *fakeCall) Do(a hub.Action) *hub.Refusal {
	switch a := a.(type) {
	case *hub.Join:
		if a.Chosen {
			c.chosen = append(c.chosen, roomNames(a.Rooms))
		}
		if c.limit {
			return &hub.Refusal{Code: hub.Limit, Message: "Too many rooms"}
		}
		c.record("join %s", roomNames(a.Rooms))
	case *hub.Leave:
		c.record("leave %s", roomNames(a.Rooms))
	case *hub.Appear:
		c.record("appear %s", a.User)
	case *hub.Typing:
		c.record("typing %v %s %s", !a.Stop, a.Room.Name, argsText(a.Payload))
	case *hub.Emission:
		c.record("emit %s", emissionText(*a))
	case *hub.Batch:
		c.record("batch %v %s", a.Window, emissionText(a.Emission))
	case *hub.Ack:
		c.record("ack %s", argsText(a.Args))
	case *hub.Ignore:
		c.record("ignore")
	case *hub.Ask:
		c.record("ask %s(%s) %v", a.Event, argsText(a.Args), a.Timeout)
		c.asked = a.Then
	case *hub.Set:
		c.record("set %s=%s", a.Key, a.Value)
		c.socket.data = fmt.Sprintf(`{%q:%s}`, a.Key, a.Value)
	case *hub.Take:
		c.record("take %s %v %d", a.Bucket, a.Every, a.Burst)
		if c.limit {
			return &hub.Refusal{Code: hub.RateLimited, Message: "Empty"}
		}
	case *hub.Once:
		return c.once(a)
	case *hub.Disconnect:
		c.record("disconnect %v", a.CloseAll)
	default:
		c.record("%T", a)
	}
	return nil
}

func (c *fakeCall) once(a *hub.Once) *hub.Refusal {
	if c.limit {
		return &hub.Refusal{Code: hub.Limit, Message: "Too many keys"}
	}
	c.record("once %s %v", a.Key, a.TTL)
	if c.waits {
		c.Suspend(false)
		c.resume = a.Run
		return nil
	}
	a.Run()
	return nil
}

func (c *fakeCall) End(r *hub.Refusal) {
	c.ended++
	if r != nil {
		c.record("refused %s: %s", r.Code, r.Message)
	}
}

func roomNames(rooms []hub.Address) string {
	var names []string
	for _, r := range rooms {
		names = append(names, []string{"", "user ", "socket "}[r.Kind]+r.Name)
	}
	return "[" + strings.Join(names, " ") + "]"
}

func argsText(a parser.Args) string {
	text := string(a.JSON)
	for i, b := range a.Bin {
		text += fmt.Sprintf(" #%d=%q", i, b)
	}
	return text
}

func emissionText(e hub.Emission) string {
	text := e.Event + "(" + argsText(e.Args) + ")"
	switch e.Scope {
	case hub.ToSelf:
		text += " self"
	case hub.ToAll:
		text += " all"
	case hub.ToRooms:
		text += " to " + roomNames(e.To)
	}
	if e.Namespace != "" {
		text += " of " + e.Namespace
	}
	if e.Except != nil {
		text += " except " + roomNames(e.Except)
	}
	if e.NotSelf {
		text += " notself"
	}
	if e.Volatile {
		text += " volatile"
	}
	return text
}

// compile compiles `on` blocks.
func compile(t testing.TB, text string, o rules.Options) *rules.Set {
	t.Helper()
	set, err := compileError(text, o)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return set
}

// parse reads `on` blocks.
func parse(file, text string) ([]rules.Rule, error) {
	p, err := caddyrules.Preset(file, text)
	return p.Rules, err
}

func compileError(text string, o rules.Options) (*rules.Set, error) {
	own, err := parse("Caddyfile", text)
	if err != nil {
		return nil, err
	}
	return rules.Compile(own, nil, o)
}

// dispatch has a set decide on an event.
func dispatch(set *rules.Set, event string, c hub.Call) {
	switch event {
	case "connect":
		set.Connect(c)
	case "disconnect":
		set.Disconnect(c)
	default:
		set.Event(c)
	}
}

// run runs the call's event and returns what it did.
func (c *fakeCall) run(t testing.TB, set *rules.Set) string {
	t.Helper()
	dispatch(set, c.name, c)
	if c.ended != 1 && c.asked == nil && c.resume == nil {
		t.Fatalf("the call ended %d times", c.ended)
	}
	return c.log()
}

func (c *fakeCall) log() string { return strings.Join(c.done, "; ") }
