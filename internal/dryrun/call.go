package dryrun

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/parser"
	"github.com/caddy-realtime/realtime/rules"
)

// call records what a rule does. It is a hub.Call, used by one goroutine.
type call struct {
	world    *World
	event    Event
	socket   *Socket
	args     parser.Args
	answered bool // or ignored
	expelled bool // by the step disconnect
	result   Result
}

var (
	_ hub.Call     = (*call)(nil)
	_ rules.Tracer = (*call)(nil)
)

// Step begins the record of a step.
func (c *call) Step(p rules.Place) {
	steps := c.result.Steps
	if n := len(steps); n > 0 && p.Depth > steps[n-1].Depth {
		steps[n-1].Entered = true
	}
	c.result.Steps = append(steps, Step{Place: p})
}

// Let records the value of a variable.
func (c *call) Let(name string, value []byte) {
	c.did(Effect{Do: "let", Key: name, Value: bytes.Clone(value)})
}

func (c *call) did(e Effect) {
	if n := len(c.result.Steps); n > 0 {
		last := &c.result.Steps[n-1]
		last.Effects = append(last.Effects, e)
	}
}

func (c *call) Name() string      { return c.event.Name }
func (c *call) Args() parser.Args { return c.args }
func (c *call) Reason() string    { return c.event.Reason }
func (c *call) Peer() hub.Peer    { return peer{c.socket} }
func (c *call) Expelled() bool    { return c.expelled }

// Worked does nothing: nobody else waits.
func (c *call) Worked(time.Duration) {}

func (c *call) Suspend(bool) {}

func (c *call) MemberCount(a hub.Address) int {
	n := 0
	for _, s := range c.world.in(c.socket.Namespace) {
		if (peer{s}).InRoom(a) {
			n++
		}
	}
	return n
}

func (c *call) Members(a hub.Address) []string {
	return users(c.world.in(c.socket.Namespace), func(s *Socket) bool { return peer{s}.InRoom(a) })
}

func (c *call) Online() []string {
	return users(c.world.in(c.socket.Namespace), func(*Socket) bool { return true })
}

func (c *call) IsOnline(user string) bool { return slices.Contains(c.Online(), user) }

// LastSeen is now for a user who is there.
func (c *call) LastSeen(user string) int64 {
	if c.IsOnline(user) {
		return time.Now().UnixMilli()
	}
	return 0
}

// deliver notes who gets an emission.
func (c *call) deliver(e hub.Emission, args json.RawMessage) {
	for _, s := range c.world.receivers(c.socket, e) {
		c.result.Deliveries = append(c.result.Deliveries, Delivery{To: s, Event: e.Event, Args: args})
	}
}

// Appear is refused as the hub refuses it, except that a socket without a user
// passes for one where nobody needs a token.
func (c *call) Appear(user string) *hub.Refusal {
	if c.socket.UserID != "" {
		return nil
	}
	if r := hub.CheckUserID(user); r != nil {
		return r
	}
	c.did(Effect{Do: "appear", Key: user})
	return nil
}

func (c *call) Typing(start bool, room hub.Address, a parser.Args) *hub.Refusal {
	if r := hub.CheckRooms([]hub.Address{room}); r != nil {
		return r
	}
	if !c.Peer().InRoom(room) {
		return &hub.Refusal{Code: hub.Forbidden, Message: "Not in this room"}
	}
	event := "user-stopped-typing"
	if start {
		event = "user-typing"
	}
	if start {
		c.deliver(hub.Emission{Event: event, Scope: hub.ToRooms, To: []hub.Address{room}, NotSelf: true}, array(a))
	} else {
		user, _ := json.Marshal(cmp.Or(c.socket.UserID, c.socket.id))
		c.deliver(hub.Emission{Event: event, Scope: hub.ToRooms, To: []hub.Address{room}, NotSelf: true}, json.RawMessage(`[{"userId":`+string(user)+`}]`))
	}
	c.did(Effect{Do: "typing", Event: event, Args: array(a), To: "rooms", Rooms: names([]hub.Address{room}), NotSender: true})
	return nil
}

func (c *call) JoinChosen(rooms []hub.Address) *hub.Refusal { return c.Join(rooms) }

func (c *call) Join(rooms []hub.Address) *hub.Refusal {
	if r := hub.CheckRooms(rooms); r != nil {
		return r
	}
	for _, a := range rooms {
		if !slices.Contains(c.socket.Rooms, a.Name) {
			c.socket.Rooms = append(slices.Clip(c.socket.Rooms), a.Name)
		}
	}
	c.did(Effect{Do: "join", Rooms: names(rooms)})
	return nil
}

func (c *call) Leave(rooms []hub.Address) *hub.Refusal {
	if r := hub.CheckRooms(rooms); r != nil {
		return r
	}
	left := names(rooms)
	c.socket.Rooms = slices.DeleteFunc(slices.Clone(c.socket.Rooms), func(room string) bool { return slices.Contains(left, room) })
	c.did(Effect{Do: "leave", Rooms: left})
	return nil
}

func (c *call) Emit(e hub.Emission) *hub.Refusal {
	if r := e.Resolve(c.Peer()); r != nil {
		return r
	}
	c.did(emitted("emit", e))
	c.deliver(e, array(e.Args))
	return nil
}

func (c *call) Batch(window time.Duration, e hub.Emission) *hub.Refusal {
	if r := e.Resolve(c.Peer()); r != nil {
		return r
	}
	effect := emitted("batch", e)
	effect.Duration = window.String()
	c.did(effect)
	c.deliver(e, append(append(json.RawMessage{'['}, array(e.Args)...), ']')) // all windows end at once
	return nil
}

func emitted(do string, e hub.Emission) Effect {
	effect := Effect{Do: do, Event: e.Event, Args: array(e.Args), Except: names(e.Except), Namespace: e.Namespace, NotSender: e.NotSelf, Volatile: e.Volatile}
	switch e.Scope {
	case hub.ToSelf:
		effect.To = "sender"
	case hub.ToAll:
		effect.To = "all"
	default:
		effect.To, effect.Rooms = "rooms", names(e.To)
	}
	return effect
}

func (c *call) Ack(a parser.Args) {
	if c.answered {
		return
	}
	c.answered = true
	c.result.Answer = array(a)
	c.did(Effect{Do: "ack", Args: array(a)})
}

func (c *call) Ignore() {
	c.answered = true
	c.did(Effect{Do: "ignore"})
}

func (c *call) Ask(event string, a parser.Args, timeout time.Duration, then func(parser.Args, *hub.Refusal)) {
	c.deliver(hub.Emission{Event: event}, array(a))
	effect := Effect{Do: "ask", Event: event, Args: array(a), To: "sender", Duration: timeout.String()}
	if len(c.event.Answers) == 0 {
		c.did(effect)
		then(parser.Args{}, &hub.Refusal{Code: hub.Timeout, Message: "No answer in time"})
		return
	}
	effect.Value = c.event.Answers[0]
	c.event.Answers = c.event.Answers[1:]
	c.did(effect)
	args, err := inside(effect.Value)
	if err != nil {
		then(parser.Args{}, &hub.Refusal{Code: hub.Invalid, Message: "The answer is no JSON array", Cause: err})
		return
	}
	then(parser.Args{JSON: args}, nil)
}

// Keep has nothing to count for.
func (c *call) Keep(int) {}

// Take finds buckets that nothing refills.
func (c *call) Take(bucket string, _ time.Duration, burst int) bool {
	name := c.socket.id + " " + bucket
	if c.world.taken[name] >= burst {
		return false
	}
	if c.world.taken == nil {
		c.world.taken = map[string]int{}
	}
	c.world.taken[name]++
	return true
}

// passing are the refusals after which dedupe runs the next event.
var passing = map[hub.Code]bool{hub.Busy: true, hub.Timeout: true, hub.UpstreamError: true, hub.RateLimited: true, hub.ProcessingError: true}

func (c *call) Once(key string, _ time.Duration, run func()) *hub.Refusal {
	name := cmp.Or(c.socket.UserID, c.socket.id) + " " + c.event.Name + " " + key
	if before, ok := c.world.first[name]; ok {
		c.result.Answer, c.result.Refusal = before.answer, before.refusal
		c.did(Effect{Do: "repeat"})
		return nil
	}
	run()
	if r := c.result.Refusal; r == nil || !passing[r.Code] {
		if c.world.first == nil {
			c.world.first = map[string]first{}
		}
		c.world.first[name] = first{c.result.Answer, r}
	}
	return nil
}

func (c *call) Set(key string, value []byte) *hub.Refusal {
	data := map[string]json.RawMessage{}
	if err := json.Unmarshal(c.socket.Data, &data); err != nil {
		return &hub.Refusal{Code: hub.ProcessingError, Message: "socket.data is no object", Cause: err}
	}
	data[key] = bytes.Clone(value)
	next, err := json.Marshal(data)
	if err != nil {
		return &hub.Refusal{Code: hub.ProcessingError, Message: "socket.data is no JSON", Cause: err}
	}
	c.socket.Data = next
	c.did(Effect{Do: "set", Key: key, Value: bytes.Clone(value)})
	return nil
}

func (c *call) Disconnect(closeAll bool) {
	c.expelled = c.event.Name != "disconnect"
	c.did(Effect{Do: "disconnect", All: closeAll})
}

func (c *call) End(r *hub.Refusal) {
	c.result.Refusal = r
	if n := len(c.result.Steps); r != nil && n > 0 {
		c.result.Steps[n-1].Refusal = r
	}
	if r == nil && !c.answered && c.event.Name != "connect" && c.event.Name != "disconnect" {
		c.result.Answer = json.RawMessage(`[]`)
	}
}
