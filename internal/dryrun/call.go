package dryrun

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/parser"
	"github.com/caddy-realtime/realtime/rules"
)

// call records what a rule does. It is a hub.Call, used by one goroutine.
type call struct {
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
func (c *call) Suspend(bool)      {}

// The socket is the only one there is.

func (c *call) MemberCount(a hub.Address) int {
	if c.Peer().InRoom(a) {
		return 1
	}
	return 0
}

func (c *call) Members(a hub.Address) []string {
	if c.socket.UserID == "" || !c.Peer().InRoom(a) {
		return nil
	}
	return []string{c.socket.UserID}
}

func (c *call) Online() []string {
	if c.socket.UserID == "" {
		return nil
	}
	return []string{c.socket.UserID}
}

func (c *call) IsOnline(user string) bool { return user != "" && user == c.socket.UserID }

// LastSeen is now for the socket's user, who is there.
func (c *call) LastSeen(user string) int64 {
	if c.IsOnline(user) {
		return time.Now().UnixMilli()
	}
	return 0
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
	return nil
}

func (c *call) Batch(window time.Duration, e hub.Emission) *hub.Refusal {
	if r := e.Resolve(c.Peer()); r != nil {
		return r
	}
	effect := emitted("batch", e)
	effect.Duration = window.String()
	c.did(effect)
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

// Take and Once find a socket that has sent nothing before.

func (c *call) Take(string, time.Duration, int) bool { return true }

func (c *call) Once(_ string, _ time.Duration, run func()) *hub.Refusal {
	run()
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
