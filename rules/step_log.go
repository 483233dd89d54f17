package rules

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("log", func() Action { return new(Log) }) }

// Log writes a value to the log, as a field: at most 1 KB, ten times a second
// for each event.
//
//	log <value>
type Log struct {
	// CEL expression.
	Value string `json:"value"`
}

const (
	maxLog       = 1024 // bytes of a logged value
	logsPerEvent = 10   // in a second
)

func (s *Log) parse(l *reader) (err error) {
	s.Value, err = l.expr("the value")
	return err
}

func (s *Log) compile(c *compiler) error {
	value, err := c.value(s.Value)
	if err != nil {
		return err
	}
	c.add(func(r *run) *hub.Refusal {
		if !r.code.logs.take(time.Now()) {
			return nil
		}
		args, err := value.build(r)
		if err != nil {
			return asRefusal(err)
		}
		text := strings.ToValidUTF8(string(args.JSON[:min(len(args.JSON), maxLog)]), "")
		r.set.log.Info("rule", "event", strings.Clone(r.event.Name), "value", text, "socket_id", r.event.Socket.ID(), "namespace", r.event.Namespace)
		return nil
	})
	return nil
}

// quota lets a number of things through in each second.
type quota struct {
	second atomic.Int64
	used   atomic.Int64
}

func (q *quota) take(now time.Time) bool {
	second := now.Unix()
	if old := q.second.Load(); old != second && q.second.CompareAndSwap(old, second) {
		q.used.Store(0)
	}
	return q.used.Add(1) <= logsPerEvent
}
