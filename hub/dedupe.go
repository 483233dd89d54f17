package hub

import (
	"strings"
	"sync"
	"time"

	"github.com/caddy-realtime/realtime/dedupe"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/parser"
)

// expireEvery is how often answers whose time is over are dropped.
const expireEvery = 10 * time.Second

// deduper is what a namespace knows of calls with the same key.
type deduper struct {
	holder // static

	mu    sync.Mutex // before Socket.mu
	table *dedupe.Table[repeat, outcome]
	timer *time.Timer // one for all answers; nil unless there are any
}

// repeat is a call that waits for the one with its key to end.
type repeat struct {
	call *call
	run  func()
	size int // of its event
}

// outcome is how a call ended.
type outcome struct {
	answered bool
	answer   parser.Args
	ignored  bool
	refusal  *Refusal
}

// firstCall is what the call that runs for others with its key knows of that.
type firstCall struct {
	entry *dedupe.Entry[repeat, outcome]
	outcome
}

var errTooLargeToKeep = &Refusal{Code: TooLarge, Message: "The answer was too large to be kept"}

func newDeduper(h holder) deduper {
	return deduper{holder: h, table: dedupe.New[repeat, outcome](dedupe.DefaultLimits, h.hold)}
}

// Once is the Action that makes calls with the same key, event and user (or
// socket, if anonymous) one: the first runs, and until TTL after its end the others
// get its answer. Only if Once is refused, it neither calls Run nor ends the
// call. A second Once of one call runs at once.
type Once struct {
	Key string
	TTL time.Duration
	// Run is called, before Do returns or on any goroutine, if this call is to
	// run: it is the first, or those before it ended without an answer to keep.
	// The hub has suspended the call then if Do has returned. Otherwise the hub
	// ends the call.
	Run func()
}

func (a *Once) perform(c *call) *Refusal {
	key, ttl, run := a.Key, a.TTL, a.Run
	if c.first != nil { // it is the first already
		run()
		return nil
	}
	e, first, err := c.socket.ns.deduper.begin(c, key, ttl, run)
	switch {
	case err != nil:
		return asRefusal(err)
	case e == nil: // it waits, and may have ended by now
	case first:
		c.first = &firstCall{entry: e}
		run()
	default:
		c.repeat(e.Answer())
	}
	return nil
}

func asRefusal(err error) *Refusal {
	switch err {
	case dedupe.ErrKey:
		return &Refusal{Code: Invalid, Message: "Key too long"}
	case dedupe.ErrEntries:
		return &Refusal{Code: Limit, Message: "Too many keys"}
	default: // dedupe.ErrWaiters
		return &Refusal{Code: Busy, Message: "Too many events are waiting"}
	}
}

// begin finds the entry of the key. The entry is nil if c waits for another
// call.
func (d *deduper) begin(c *call, key string, ttl time.Duration, run func()) (e *dedupe.Entry[repeat, outcome], first bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := dedupe.Key{Owner: c.socket.owner(), Event: strings.Clone(c.event.Name), Name: key}
	e, first, err = d.table.Begin(k, ttl, time.Now())
	if err != nil || first || !e.Running() {
		return e, first, err
	}
	w := repeat{c, run, c.size()}
	if err := d.table.Wait(e, w, w.size); err != nil {
		return nil, false, err
	}
	d.server.Hold(budget.Waiting, w.size+eventCost)
	if c.b = nil; !c.suspended { // before another goroutine sees it; a call that holds its queue still does
		c.Suspend(false)
	}
	return nil, false, nil
}

func (s *Socket) owner() dedupe.Owner {
	if id := s.UserID(); id != "" {
		return dedupe.Owner{User: id}
	}
	return dedupe.Owner{Socket: s.id}
}

// repeat ends c as the first call with its key ended.
func (c *call) repeat(o outcome) {
	switch {
	case o.answered:
		c.ack(o.answer)
	case o.ignored:
		c.ignore()
	}
	c.End(o.refusal)
}

// retryable are the refusals after which the same event may well succeed.
var retryable = map[Code]bool{Busy: true, Timeout: true, UpstreamError: true, RateLimited: true, ProcessingError: true}

// completeDedupe resumes the calls that wait for c, which has ended and answered.
// If its answer is not to be kept, the first of them runs.
func (c *call) completeDedupe(r *Refusal) {
	f := c.first
	c.first = nil
	if r != nil {
		f.refusal = &Refusal{Code: r.Code, Message: r.Message}
	}
	if f.answered || r == nil || !retryable[r.Code] && !c.Kicked() {
		c.resumeAll(c.socket.ns.finish(f), func(w repeat) { w.call.repeat(f.outcome) })
	} else if w, ok := c.socket.ns.deduper.abandon(f); ok {
		c.resumeAll([]repeat{w}, func(w repeat) {
			w.call.first = &firstCall{entry: f.entry}
			w.run()
		})
	}
}

func (c *call) resumeAll(waiting []repeat, then func(repeat)) {
	if len(waiting) == 0 {
		return
	}
	c.batched(func(b *engine.Batch) {
		for _, w := range waiting {
			w.call.resume(b, func() { then(w) })
		}
	})
}

// finish keeps how f ended and returns the calls that have waited for it. An
// answer that is too large is not kept, but that there was one.
func (n *Namespace) finish(f *firstCall) []repeat {
	d := &n.deduper
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.table.Fits(f.entry, f.answer.Len()) {
		f.outcome = outcome{refusal: errTooLargeToKeep}
	}
	waiting := d.table.Finish(f.entry, f.outcome, f.answer.Len(), time.Now())
	for _, w := range waiting {
		d.server.Hold(budget.Waiting, -w.size-eventCost)
	}
	if d.timer == nil {
		n.expireAnswersLaterLocked()
	}
	return waiting
}

// abandon ends f without an answer and returns the call that is to run in its
// place, if one waits.
func (d *deduper) abandon(f *firstCall) (next repeat, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if next, ok = d.table.Abandon(f.entry); ok {
		d.server.Hold(budget.Waiting, -next.size-eventCost)
	}
	return next, ok
}

func (n *Namespace) expireAnswersLaterLocked() {
	n.deduper.timer = time.AfterFunc(expireEvery, func() { n.hub.insist("dedupe", n.expireAnswers) })
}

func (n *Namespace) expireAnswers() {
	d := &n.deduper
	d.mu.Lock()
	defer d.mu.Unlock()
	d.table.Expire(time.Now())
	if d.timer = nil; d.table.Answers() > 0 {
		n.expireAnswersLaterLocked()
	}
}

// kept is how many bytes the answers hold.
func (d *deduper) kept() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.table.Bytes()
}

// shed drops the oldest answers, until that many bytes are free.
func (d *deduper) shed(bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.table.Shed(bytes)
}

// clear drops all answers, of a namespace that is gone.
func (d *deduper) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.table.Clear()
}

// forget drops the answers of an anonymous socket that has left: no other can
// ask for them.
func (d *deduper) forget(s *Socket) {
	if o := s.owner(); o.User == "" {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.table.Forget(o)
	}
}
