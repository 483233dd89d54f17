package rules

import (
	"errors"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/rawjson"
)

func init() { register("dedupe", func() Action { return new(Dedupe) }) }

// Dedupe makes events with the same key one, so that a client may send again
// what it got no answer to: the first one runs the steps that follow, the others get
// its answer and run nothing. Keys belong to the user, or to the socket of an
// anonymous one, and to the event. A refusal is an answer, too, except those
// that may pass: after BUSY, TIMEOUT, UPSTREAM_ERROR, RATE_LIMITED and
// PROCESSING_ERROR the next one runs. Of a user, the last 1,000 answers are
// kept, and 1 MB of them.
//
//	dedupe <key> <ttl>
type Dedupe struct {
	// CEL expression: a string or a number, such as an id that the client
	// makes for each message.
	Key string `json:"key"`
	// How long the answer is repeated.
	TTL Duration `json:"ttl"`
}

func (s *Dedupe) parse(l *reader) (err error) {
	if s.Key, err = l.expr("the key"); err != nil {
		return err
	}
	s.TTL, err = l.duration("the time for which answers are kept")
	return err
}

var errKeyForm = &hub.Refusal{Code: hub.Invalid, Message: "Key required", Cause: errors.New("the key of dedupe must be a string or a number")}

func (s *Dedupe) compile(c *compiler) error {
	switch {
	case c.kind != eventRule:
		return errOnlyEvents
	case c.dedupes:
		return errors.New("a rule can have only one dedupe")
	case s.TTL <= 0:
		return errors.New("the time for which answers are kept must be greater than 0")
	}
	c.dedupes = true
	key, err := c.value(s.Key)
	if err != nil {
		return err
	}
	ttl := time.Duration(s.TTL)
	c.add(func(r *run) *hub.Refusal {
		args, err := key.build(r)
		if err != nil {
			return asRefusal(err)
		}
		if !isKey(args.JSON) || len(args.Bin) > 0 {
			return errKeyForm
		}
		if refusal := r.call.Do(&hub.Once{Key: string(args.JSON), TTL: ttl, Run: r.goOn}); refusal != nil {
			return refusal
		}
		return suspended // r may have ended already
	})
	return nil
}

func isKey(raw []byte) bool {
	switch rawjson.KindOf(raw) {
	case rawjson.KindString:
		return len(raw) > len(`""`)
	case rawjson.KindNumber:
		return true
	}
	return false
}

// goOn runs what is left. The call may have waited, for longer than its socket
// was welcome.
func (r *run) goOn() {
	if r.call.Kicked() {
		r.end(errKicked)
		return
	}
	r.data = nil
	r.exec()
}
