package rules

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

// Connect runs the rules for connect, of presets and own.
func (s *Set) Connect(c hub.Call) {
	if s.connect == nil {
		c.End(nil)
		return
	}
	s.start(s.connect, c)
}

// Disconnect runs the rules for disconnect. One that fails does not keep the
// next from running.
func (s *Set) Disconnect(c hub.Call) {
	if s.disconnect == nil {
		c.End(nil)
		return
	}
	s.start(s.disconnect, c)
}

// Event runs the rule for the event, or refuses an event that has none. The hub
// has handled auth-refresh already, so that it needs no rule.
func (s *Set) Event(c hub.Call) {
	name := c.Event().Name
	code := s.events[name]
	if code == nil && !s.reserved[name] && !parser.IsReserved(name) {
		code = s.any
	}
	if code == nil && name == "auth-refresh" {
		c.End(nil)
		return
	}
	if code == nil {
		c.End(&hub.Refusal{Code: hub.UnknownEvent, Message: "Unknown event " + name})
		return
	}
	s.start(code, c)
}

// run executes a code for one call. It belongs to the goroutine that executes it;
// while it is suspended, to the one that resumes it.
type run struct {
	set   *Set
	code  *code
	call  hub.Call
	event *hub.Event    // of call
	data  []byte        // the variable, once it was read
	pc    int           // the next op
	vars  []parser.Args // values of variables, by slot

	clock  clock
	failed *hub.Refusal // of disconnect: the rules that failed
	now    int64        // the variable, once it was read
	room   string       // the variable of allow_rooms

	// Of the present step. The actions lie here so that sending and
	// acknowledging an event allocates nothing for them.
	b        parser.Builder
	emission hub.Emission
	answer   hub.Ack
	scratch  []byte // written by selectors. Values alias it: they stay valid when it grows

	self   callVal
	active activation
}

// maxKept bounds the memory that a run takes back to the pool.
const maxKept = 64 << 10

var runs = sync.Pool{New: func() any {
	r := new(run)
	r.self.run = r
	r.active.run = r
	return r
}}

var errKicked = &hub.Refusal{Code: hub.Forbidden, Message: "Disconnected"}

// suspended is returned by an op that resumes the run later.
var suspended = new(hub.Refusal)

func (s *Set) newRun(code *code, c hub.Call) *run {
	r := runs.Get().(*run)
	r.set, r.code, r.call, r.event = s, code, c, c.Event()
	return r
}

func (s *Set) start(code *code, c hub.Call) {
	r := s.newRun(code, c)
	for len(r.vars) < code.slots {
		r.vars = append(r.vars, parser.Args{})
	}
	r.exec()
}

// exec executes ops until the end, or until one suspends. r must not be used after
// it.
func (r *run) exec() {
	for r.pc < len(r.code.ops) {
		step := r.code.ops[r.pc]
		r.pc++
		r.scratch = r.scratch[:0]
		refusal := step(r)
		if refusal == suspended {
			return
		}
		if refusal != nil && !r.nextRule(refusal) {
			r.end(refusal)
			return
		}
	}
	r.end(r.failed)
}

// nextRule continues with the next rule for disconnect after one was refused. It
// is false for other events.
func (r *run) nextRule(refusal *hub.Refusal) bool {
	if r.code != r.set.disconnect {
		return false
	}
	r.failed = also(r.failed, r.placed(refusal))
	for _, start := range r.code.starts {
		if start >= r.pc {
			r.pc = start
			return true
		}
	}
	r.pc = len(r.code.ops)
	return true
}

// also is the refusal first, with next as another cause for the log.
func also(first, next *hub.Refusal) *hub.Refusal {
	if first == nil {
		return next
	}
	both := *first
	both.Cause = errors.Join(first.Cause, fmt.Errorf("%s: %w", next.Rule, next))
	return &both
}

// placed is the refusal by the present step, with the step's line. A refusal that
// is made once for many events has its line already and is not copied.
func (r *run) placed(refusal *hub.Refusal) *hub.Refusal {
	if refusal == nil || refusal.Rule != "" {
		return refusal
	}
	with := *refusal
	with.Rule = r.code.lines[r.pc-1]
	return &with
}

// end ends the call. r must not be used after it.
func (r *run) end(refusal *hub.Refusal) {
	c := r.call
	refusal = r.placed(refusal)
	r.tell()
	r.free()
	c.End(refusal)
}

func (r *run) free() {
	clear(r.vars)
	r.b.Reset()
	if cap(r.b.JSON) > maxKept {
		r.b = parser.Builder{}
	}
	if cap(r.scratch) > maxKept {
		r.scratch = nil
	}
	r.set, r.code, r.call, r.event, r.data, r.pc = nil, nil, nil, nil, nil, 0
	if r.emission.Event != "" {
		r.emission = hub.Emission{}
	}
	r.answer = hub.Ack{}
	r.vars, r.failed, r.now, r.room = r.vars[:0], nil, 0, ""
	runs.Put(r)
}

// suspend lets the call end after the method of the Policy has returned.
func (r *run) suspend() {
	r.tell()
	r.call.Suspend(false)
	r.data = nil
}

// resume continues with an answer, or ends with the refusal. It executes nothing
// more for a client that the server has disconnected.
func (r *run) resume(slot int, answer parser.Args, refusal *hub.Refusal) {
	if refusal == nil && r.call.Kicked() {
		refusal = errKicked
	}
	if refusal != nil {
		r.end(refusal)
		return
	}
	r.keep(slot, answer)
	r.exec()
}

// keep sets a variable, which lives as long as the call.
func (r *run) keep(slot int, value parser.Args) {
	r.vars[slot] = value.Clone()
	r.call.Keep(value.Len())
}

// firstArg is the variable data.
func (r *run) firstArg() []byte {
	if r.data == nil {
		var ok bool
		if r.data, ok = rawjson.Index(r.event.Args.JSON, 0); !ok {
			r.data = rawNull
		}
	}
	return r.data
}

// time is the variable now.
func (r *run) time() int64 {
	if r.now == 0 {
		r.now = time.Now().UnixMilli()
	}
	return r.now
}

// sender is the variable of that name.
func (r *run) sender() string { return hub.Sender(r.event.Socket) }

// socketJSON is the variable socket as a whole.
func (r *run) socketJSON() []byte {
	socket, start := r.event.Socket, len(r.scratch)
	b := append(r.scratch, `{"id":`...)
	b = rawjson.AppendQuote(b, socket.ID())
	b = append(b, `,"rooms":`...)
	b = appendRooms(b, socket.Rooms())
	b = append(b, `,"data":`...)
	b = append(b, socket.Data()...)
	b = append(b, `,"recovered":`...)
	b = append(b, rawBool(socket.Recovered())...)
	b = append(b, `,"handshake":`...)
	b = append(b, socket.Handshake()...)
	b = append(b, '}')
	r.scratch = b
	return b[start:]
}
