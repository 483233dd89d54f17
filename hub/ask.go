package hub

import (
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/parser"
)

// Ask is the Action of sending this socket an event and waiting for its
// acknowledgement. The call must be suspended.
type Ask struct {
	Event   string
	Args    parser.Args
	Timeout time.Duration
	// Then is called once, on any goroutine, with the arguments of the
	// acknowledgement, which are valid during it, or with a Refusal (TIMEOUT).
	Then func(parser.Args, *Refusal)
}

// The clock starts when the question is encoded: Then may make Args invalid.
func (a *Ask) perform(c *call) *Refusal {
	s := c.socket
	q := &ask{call: c, then: a.Then}
	id, r := s.addAsk(q)
	if r != nil {
		a.Then(parser.Args{}, r)
		return nil
	}
	b := engine.NewBatch()
	defer b.Flush()
	s.send(b, parser.Packet{Type: parser.Event, ID: id, Name: []byte(a.Event), Args: a.Args})
	s.startAsk(id, a.Timeout)
	return nil
}

// ask is an event that a rule sent and whose acknowledgement it waits for.
type ask struct {
	call  *call
	size  int         // of the event whose rule waits, in bytes
	timer *time.Timer // nil until the question is on its way; guarded by Socket.mu
	then  func(parser.Args, *Refusal)
}

// addAsk remembers a question under a new acknowledgement id. The events whose
// rules wait are kept: their bytes are limited as those of waiting events are.
func (s *Socket) addAsk(a *ask) (id int64, r *Refusal) {
	conf := s.ns.hub.config.Load()
	a.size = a.call.size()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state != stateOpen:
		return 0, &Refusal{Code: Timeout, Message: "Disconnected"}
	case len(s.asks) >= conf.PendingAsks, len(s.asks) > 0 && s.asked+a.size > conf.WaitingBytes:
		return 0, &Refusal{Code: Limit, Message: "Too many unanswered questions"}
	}
	if s.asks == nil {
		s.asks = map[int64]*ask{}
	}
	id = s.ns.ackIDs.Add(1) - 1
	s.asks[id] = a
	s.asked += a.size
	s.ns.hub.engine.Hold(budget.Waiting, a.size+eventCost)
	return id, nil
}

// startAsk begins to wait for the answer, unless it is there already.
func (s *Socket) startAsk(id int64, timeout time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.asks[id]; a != nil {
		a.timer = time.AfterFunc(timeout, func() { s.ns.hub.guard("ask", s.session(), func() { s.expireAsk(id) }) })
	}
}

func (s *Socket) expireAsk(id int64) {
	if a := s.takeAsk(id); a != nil {
		b := engine.NewBatch()
		defer b.Flush()
		a.finish(b, parser.Args{}, &Refusal{Code: Timeout, Message: "No answer in time"})
	}
}

// takeAsk returns the question with that id, once.
func (s *Socket) takeAsk(id int64) *ask {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.asks[id]
	if a == nil {
		return nil
	}
	delete(s.asks, id)
	s.asked -= a.size
	s.ns.hub.engine.Hold(budget.Waiting, -a.size-eventCost)
	if a.timer != nil {
		a.timer.Stop()
	}
	return a
}

// answerAsk finishes the question with that id, if there is one.
func (s *Socket) answerAsk(b *engine.Batch, id int64, answer parser.Args, r *Refusal) {
	if a := s.takeAsk(id); a != nil {
		a.finish(b, answer, r)
	}
}

// finish resumes the rule that asked.
func (a *ask) finish(b *engine.Batch, answer parser.Args, r *Refusal) {
	a.call.resume(b, func() { a.then(answer, r) })
}
