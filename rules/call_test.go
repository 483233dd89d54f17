package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/parser"
	"github.com/caddy-realtime/realtime/rules"
)

// fakeCall records what a rule does, one line for each call.
type fakeCall struct {
	chosen []string // by the client
	peer   fakePeer
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

	worked   time.Duration
	expelled bool
}

type fakePeer struct {
	id, user  string
	claims    string
	data      string
	handshake string
	rooms     []string
}

func (p *fakePeer) ID() string        { return p.id }
func (p *fakePeer) Namespace() string { return "/" }
func (p *fakePeer) UserID() string    { return p.user }
func (p *fakePeer) User() []byte {
	if p.claims == "" {
		return nil
	}
	return []byte(p.claims)
}
func (p *fakePeer) Data() []byte      { return []byte(p.data) }
func (p *fakePeer) Handshake() []byte { return []byte(p.handshake) }
func (p *fakePeer) Recovered() bool   { return false }
func (p *fakePeer) Rooms() []string   { return p.rooms }
func (p *fakePeer) InRoom(a hub.Address) bool {
	room := a.WireName()
	for _, r := range p.rooms {
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
		peer: fakePeer{id: socketID, data: `{}`, handshake: `{"address":"127.0.0.1","query":{"v":"1"},"auth":{"n":7}}`, rooms: []string{socketID}},
	}
}

func (c *fakeCall) as(user string) *fakeCall {
	c.peer.user, c.peer.claims = user, fmt.Sprintf(`{"id":%q,"roles":["admin"],"org":"acme"}`, user)
	c.peer.rooms = append(c.peer.rooms, "user:"+user)
	return c
}

func (c *fakeCall) in(rooms ...string) *fakeCall {
	c.peer.rooms = append(c.peer.rooms, rooms...)
	return c
}

func (c *fakeCall) record(format string, args ...any) {
	c.done = append(c.done, fmt.Sprintf(format, args...))
}

func (c *fakeCall) Name() string                   { return c.name }
func (c *fakeCall) Args() parser.Args              { return c.args }
func (c *fakeCall) Reason() string                 { return c.reason }
func (c *fakeCall) Peer() hub.Peer                 { return &c.peer }
func (c *fakeCall) Expelled() bool                 { return c.expelled }
func (c *fakeCall) Worked(d time.Duration)         { c.worked += d }
func (c *fakeCall) MemberCount(a hub.Address) int  { return len(a.Name) }
func (c *fakeCall) Members(a hub.Address) []string { return []string{"member of " + a.Name} }
func (c *fakeCall) Online() []string               { return []string{"a", "b"} }
func (c *fakeCall) IsOnline(user string) bool      { return user == "a" }
func (c *fakeCall) LastSeen(user string) int64     { return int64(len(user)) }
func (c *fakeCall) Suspend(hold bool) {
	c.record("suspend hold=%v", hold)
	old := c.args.JSON
	c.args.JSON = append([]byte(nil), old...)
	for i := range old { // what was there before is not valid any more
		old[i] = '!'
	}
}

func (c *fakeCall) Join(rooms []hub.Address) *hub.Refusal {
	if c.limit {
		return &hub.Refusal{Code: hub.Limit, Message: "Too many rooms"}
	}
	c.record("join %s", roomNames(rooms))
	return nil
}

func (c *fakeCall) JoinChosen(rooms []hub.Address) *hub.Refusal {
	c.chosen = append(c.chosen, roomNames(rooms))
	return c.Join(rooms)
}

func (c *fakeCall) Leave(rooms []hub.Address) *hub.Refusal {
	c.record("leave %s", roomNames(rooms))
	return nil
}

func (c *fakeCall) Appear(user string) *hub.Refusal {
	c.record("appear %s", user)
	return nil
}

func (c *fakeCall) Typing(start bool, room hub.Address, a parser.Args) *hub.Refusal {
	c.record("typing %v %s %s", start, room.Name, argsText(a))
	return nil
}

func (c *fakeCall) Emit(e hub.Emission) *hub.Refusal {
	c.record("emit %s", emissionText(e))
	return nil
}

func (c *fakeCall) Batch(window time.Duration, e hub.Emission) *hub.Refusal {
	c.record("batch %v %s", window, emissionText(e))
	return nil
}
func (c *fakeCall) Ack(a parser.Args) { c.record("ack %s", argsText(a)) }
func (c *fakeCall) Ignore()           { c.record("ignore") }
func (c *fakeCall) Ask(event string, a parser.Args, timeout time.Duration, then func(parser.Args, *hub.Refusal)) {
	c.record("ask %s(%s) %v", event, argsText(a), timeout)
	c.asked = then
}

func (c *fakeCall) Keep(bytes int) { c.kept += bytes }

func (c *fakeCall) Set(key string, value []byte) *hub.Refusal {
	c.record("set %s=%s", key, value)
	c.peer.data = fmt.Sprintf(`{%q:%s}`, key, value)
	return nil
}

func (c *fakeCall) Take(bucket string, every time.Duration, burst int) bool {
	c.record("take %s %v %d", bucket, every, burst)
	return !c.limit
}

func (c *fakeCall) Once(key string, ttl time.Duration, run func()) *hub.Refusal {
	if c.limit {
		return &hub.Refusal{Code: hub.Limit, Message: "Too many keys"}
	}
	c.record("once %s %v", key, ttl)
	if c.waits {
		c.Suspend(false)
		c.resume = run
		return nil
	}
	run()
	return nil
}
func (c *fakeCall) Disconnect(closeAll bool) { c.record("disconnect %v", closeAll) }
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

func compileError(text string, o rules.Options) (*rules.Set, error) {
	own, err := rules.Parse("Caddyfile", text)
	if err != nil {
		return nil, err
	}
	return rules.Compile(own, nil, o)
}

// run runs the call's event and returns what it did.
func (c *fakeCall) run(t testing.TB, set *rules.Set) string {
	t.Helper()
	switch c.name {
	case "connect":
		set.Connect(c)
	case "disconnect":
		set.Disconnect(c)
	default:
		set.Event(c)
	}
	if c.ended != 1 && c.asked == nil && c.resume == nil {
		t.Fatalf("the call ended %d times", c.ended)
	}
	return c.log()
}

func (c *fakeCall) log() string { return strings.Join(c.done, "; ") }
