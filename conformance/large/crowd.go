//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/internal/wsclient"
)

// crowd is clients that come back as the stock client does.
type crowd struct {
	target target
	// enter is what a client does when it is connected; then it counts as in.
	// nil: nothing.
	enter func(*client) error
	// stay keeps it in, until the connection ends; nil: it reads.
	stay func(context.Context, *client) error

	in                                 atomic.Int64 // who are in now
	attempts, refused, failed, entered atomic.Int64
}

// come starts n clients, as if they had just lost their connections; they go
// when ctx ends.
func (c *crowd) come(ctx context.Context, n int) {
	for range n {
		go c.live(ctx)
	}
}

func (c *crowd) live(ctx context.Context) {
	for attempt := 0; sleep(ctx, backoff(attempt)); attempt++ {
		if c.visit(ctx) {
			attempt = -1
		}
	}
}

// visit is one connection; false if it did not get in.
func (c *crowd) visit(ctx context.Context) (entered bool) {
	c.attempts.Add(1)
	cl, err := c.target.open(ctx)
	if err == nil {
		defer cl.reset()
		stop := context.AfterFunc(ctx, cl.reset)
		defer stop()
		if c.enter != nil {
			err = c.enter(cl)
		}
	}
	if err != nil {
		c.count(err)
		return false
	}
	c.entered.Add(1)
	c.in.Add(1)
	defer c.in.Add(-1)
	stay := c.stay
	if stay == nil {
		stay = read
	}
	_ = stay(ctx, cl) // it ends with the connection
	return true
}

// recount begins to count anew, but for those who are in.
func (c *crowd) recount() {
	for _, n := range []*atomic.Int64{&c.attempts, &c.refused, &c.failed, &c.entered} {
		n.Store(0)
	}
}

func (c *crowd) String() string {
	return fmt.Sprintf("%d in; of %d attempts %d were refused with 503, %d failed otherwise, %d got in",
		c.in.Load(), c.attempts.Load(), c.refused.Load(), c.failed.Load(), c.entered.Load())
}

// joinAll joins the room of everybody.
func joinAll(c *client) error {
	_, err := c.ask(`421["join","all"]`, "431")
	return err
}

// hear reads, and counts what is said.
func hear(heard *atomic.Int64) func(context.Context, *client) error {
	return func(_ context.Context, c *client) error {
		for {
			if _, err := c.await(`42["said"`); err != nil {
				return err
			}
			heard.Add(1)
		}
	}
}

func read(_ context.Context, c *client) error {
	for {
		if _, err := c.receive(); err != nil {
			return err
		}
	}
}

func (c *crowd) count(err error) {
	if r := (wsclient.Refused{}); errors.As(err, &r) && r.Status == http.StatusServiceUnavailable {
		c.refused.Add(1)
	} else {
		c.failed.Add(1)
	}
}

// backoff is the stock client's wait before it tries again: one second, each
// time twice that, at most five, and half of it more or less.
func backoff(attempt int) time.Duration {
	wait := math.Pow(2, float64(min(attempt, 10))) * (0.5 + rand.Float64())
	return time.Duration(min(wait, 5) * float64(time.Second))
}
