package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("rate", func() Action { return new(Rate) }) }

// Rate refuses the event, RATE_LIMITED, if the socket has sent it too often.
// Each socket has a bucket of tokens for each Rate of a rule; all events that
// one rule for * takes share it. A refused event takes no token.
//
//	rate <n>/<duration> [burst <n>]
type Rate struct {
	// How many events in Per, in the long run.
	Events int `json:"events"`
	// The time to which Events refers.
	Per Duration `json:"per"`
	// How many at once, after a pause; default Events.
	Burst int `json:"burst,omitempty"`
}

var errRate = errors.New("write it as 10/s, 100/m or 100/5m, optionally followed by: burst 20")

func (s *Rate) parse(l *reader) error {
	t, err := l.next("the rate")
	if err != nil {
		return err
	}
	n, per, ok := strings.Cut(t.Text, "/")
	if s.Events, err = strconv.Atoi(n); err != nil || !ok {
		return fmt.Errorf("%s is not a rate; %w", t.Text, errRate)
	}
	if per != "" && !strings.ContainsAny(per[:1], "0123456789.") {
		per = "1" + per // 10/s
	}
	d, err := time.ParseDuration(per)
	if err != nil {
		return fmt.Errorf("%s is not a rate; %w", t.Text, errRate)
	}
	s.Per = Duration(d)
	if !l.keyword("burst") {
		return nil
	}
	burst, err := l.next("the number after burst")
	if err != nil {
		return err
	}
	if s.Burst, err = strconv.Atoi(burst.Text); err != nil || s.Burst <= 0 {
		return fmt.Errorf("burst: %s is not a whole number greater than 0", burst.Text)
	}
	return nil
}

// maxRefill is the longest that a bucket may take to be full.
const maxRefill = 366 * 24 * time.Hour

func (s *Rate) compile(c *compiler) error {
	if c.kind != eventRule {
		return errOnlyEvents
	}
	if s.Events <= 0 || s.Per <= 0 || s.Burst < 0 {
		return errRate
	}
	every, burst := time.Duration(s.Per)/time.Duration(s.Events), s.Burst
	if burst == 0 {
		burst = s.Events
	}
	if every <= 0 || float64(burst)*float64(every) > float64(maxRefill) {
		return errors.New("the rate is out of range: the burst must refill within 366 days")
	}
	take := &hub.Take{Bucket: c.bucket(), Every: every, Burst: burst}
	tooOften := &hub.Refusal{Code: hub.RateLimited, Message: "Too many requests", Rule: c.where}
	c.add(func(r *run) *hub.Refusal {
		if r.call.Do(take) != nil {
			return tooOften
		}
		return nil
	})
	return nil
}

// bucket names the next bucket of the rule. The names are the same after a
// reload that does not change the rule, so that sockets keep their state.
func (c *compiler) bucket() string {
	c.buckets++
	return c.event + " " + strconv.Itoa(c.buckets)
}
