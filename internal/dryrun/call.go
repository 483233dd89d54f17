package dryrun

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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
	kicked   bool // by the step disconnect
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
	c.did(Effect{Do: "let", Key: name, Value: bytes.Clone(value)}, name+" = "+string(value))
}

// did records an effect of the present step, and what it is in words.
func (c *call) did(e Effect, text string) {
	e.text = text
	if n := len(c.result.Steps); n > 0 {
		last := &c.result.Steps[n-1]
		last.Effects = append(last.Effects, e)
	}
}

func (c *call) Event() *hub.Event {
	return &hub.Event{Name: c.event.Name, Namespace: c.socket.Namespace, Args: c.args, Reason: c.event.Reason, Socket: view{c.socket}}
}

func (c *call) Directory() hub.Directory { return directory{c.world, c.socket.Namespace} }
func (c *call) Kicked() bool             { return c.kicked }

// Suspend, Keep and Worked have nothing to do: no other call waits.
func (c *call) Suspend(bool)         {}
func (c *call) Keep(int)             {}
func (c *call) Worked(time.Duration) {}

// Do records an action, and does to the world what later steps and events can
// see of it.
func (c *call) Do(a hub.Action) *hub.Refusal {
	switch a := a.(type) {
	case *hub.Join:
		return c.join(a.Rooms)
	case *hub.Leave:
		return c.leave(a.Rooms)
	case *hub.Emission:
		return c.emit(*a)
	case *hub.Batch:
		return c.batch(a.Window, a.Emission)
	case *hub.Typing:
		return c.typing(a)
	case *hub.Ask:
		c.ask(a)
	case *hub.Ack:
		c.ack(a.Args)
	case *hub.Ignore:
		c.answered = true
		c.did(Effect{Do: "ignore"}, "ends without an answer")
	case *hub.Appear:
		return c.appear(a.User)
	case *hub.Set:
		return c.set(a.Key, a.Value)
	case *hub.Disconnect:
		c.disconnect(a.CloseAll)
	case *hub.Take:
		return c.take(a)
	case *hub.Once:
		c.once(a)
	default:
		name := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", a), "*hub."))
		c.did(Effect{Do: name}, name)
	}
	return nil
}

// deliver notes which sockets get an emission.
func (c *call) deliver(e hub.Emission, args json.RawMessage) {
	for _, s := range c.world.receivers(c.socket, e) {
		c.result.Deliveries = append(c.result.Deliveries, Delivery{To: s, Event: e.Event, Args: args})
	}
}

// appear is refused as the hub refuses it, except that a socket without a user is
// taken for one of a namespace without auth.
func (c *call) appear(user string) *hub.Refusal {
	if c.socket.UserID != "" {
		return nil
	}
	if r := hub.CheckUserID(user); r != nil {
		return r
	}
	c.did(Effect{Do: "appear", Key: user}, "appears as "+user)
	return nil
}

func (c *call) typing(a *hub.Typing) *hub.Refusal {
	room := []hub.Address{a.Room}
	if r := hub.CheckRooms(room); r != nil {
		return r
	}
	if !(view{c.socket}).InRoom(a.Room) {
		return &hub.Refusal{Code: hub.Forbidden, Message: "Not in this room"}
	}
	event, payload := "user-typing", array(a.Payload)
	if a.Stop {
		user, _ := json.Marshal(hub.Sender(view{c.socket}))
		event, payload = "user-stopped-typing", json.RawMessage(`[{"userId":`+string(user)+`}]`)
	}
	c.deliver(hub.Emission{Event: event, Scope: hub.ToRooms, To: room, NotSelf: true}, payload)
	e := Effect{Do: "typing", Event: event, Args: array(a.Payload), To: "rooms", Rooms: names(room), NotSender: true}
	c.did(e, "tells "+e.emission())
	return nil
}

func (c *call) join(rooms []hub.Address) *hub.Refusal {
	if r := hub.CheckRooms(rooms); r != nil {
		return r
	}
	for _, a := range rooms {
		if !slices.Contains(c.socket.Rooms, a.Name) {
			c.socket.Rooms = append(slices.Clip(c.socket.Rooms), a.Name)
		}
	}
	c.did(Effect{Do: "join", Rooms: names(rooms)}, "joins "+list(names(rooms)))
	return nil
}

func (c *call) leave(rooms []hub.Address) *hub.Refusal {
	if r := hub.CheckRooms(rooms); r != nil {
		return r
	}
	left := names(rooms)
	c.socket.Rooms = slices.DeleteFunc(slices.Clone(c.socket.Rooms), func(room string) bool { return slices.Contains(left, room) })
	c.did(Effect{Do: "leave", Rooms: left}, "leaves "+list(left))
	return nil
}

func (c *call) emit(e hub.Emission) *hub.Refusal {
	if r := e.Resolve(view{c.socket}); r != nil {
		return r
	}
	effect := emitted("emit", e)
	c.did(effect, "emits "+effect.emission())
	c.deliver(e, array(e.Args))
	return nil
}

func (c *call) batch(window time.Duration, e hub.Emission) *hub.Refusal {
	if r := e.Resolve(view{c.socket}); r != nil {
		return r
	}
	effect := emitted("batch", e)
	effect.Duration = window.String()
	c.did(effect, "collects for "+effect.Duration+" "+effect.emission())
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

func (c *call) ack(a parser.Args) {
	if c.answered {
		return
	}
	c.answered = true
	c.result.Answer = array(a)
	c.did(Effect{Do: "ack", Args: array(a)}, "answers "+string(array(a)))
}

func (c *call) ask(a *hub.Ask) {
	c.deliver(hub.Emission{Event: a.Event}, array(a.Args))
	effect := Effect{Do: "ask", Event: a.Event, Args: array(a.Args), To: "sender", Duration: a.Timeout.String()}
	if len(c.event.Answers) == 0 {
		c.did(effect, "asks "+effect.emission()+", who does not answer")
		a.Then(parser.Args{}, &hub.Refusal{Code: hub.Timeout, Message: "No answer in time"})
		return
	}
	effect.Value = c.event.Answers[0]
	c.event.Answers = c.event.Answers[1:]
	c.did(effect, "asks "+effect.emission()+", who answers "+string(effect.Value))
	args, err := inside(effect.Value)
	if err != nil {
		a.Then(parser.Args{}, &hub.Refusal{Code: hub.Invalid, Message: "The answer is no JSON array", Cause: err})
		return
	}
	a.Then(parser.Args{JSON: args}, nil)
}

// take finds buckets that nothing refills.
func (c *call) take(a *hub.Take) *hub.Refusal {
	name := c.socket.id + " " + a.Bucket
	if c.world.taken[name] >= a.Burst {
		return &hub.Refusal{Code: hub.RateLimited, Message: "Too many requests"}
	}
	if c.world.taken == nil {
		c.world.taken = map[string]int{}
	}
	c.world.taken[name]++
	return nil
}

// passing are the refusals after which dedupe runs the next event.
var passing = map[hub.Code]bool{hub.Busy: true, hub.Timeout: true, hub.UpstreamError: true, hub.RateLimited: true, hub.ProcessingError: true}

func (c *call) once(a *hub.Once) {
	name := hub.Sender(view{c.socket}) + " " + c.event.Name + " " + a.Key
	if before, ok := c.world.first[name]; ok {
		c.result.Answer, c.result.Refusal = before.answer, before.refusal
		c.did(Effect{Do: "repeat"}, "answers as the first time")
		return
	}
	a.Run()
	if r := c.result.Refusal; r == nil || !passing[r.Code] {
		if c.world.first == nil {
			c.world.first = map[string]first{}
		}
		c.world.first[name] = first{c.result.Answer, r}
	}
}

func (c *call) set(key string, value []byte) *hub.Refusal {
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
	c.did(Effect{Do: "set", Key: key, Value: bytes.Clone(value)}, "socket.data."+key+" = "+string(value))
	return nil
}

func (c *call) disconnect(closeAll bool) {
	c.kicked = c.event.Name != "disconnect"
	text := "disconnects from the namespace"
	if closeAll {
		text = "ends the connection"
	}
	c.did(Effect{Do: "disconnect", All: closeAll}, text)
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
