package hub

import (
	"slices"
	"time"
)

// bucket holds tokens, as the one number that matters: when it will be full.
// So it knows no rate, which a reload may change, and is 40 bytes with its
// name; rate.Limiter of golang.org/x/time has a lock of its own and its rate
// in it, and is twice that without one.
type bucket struct {
	name string
	full time.Time
}

// errorBucket is that of error events. Rules name theirs after an event.
const errorBucket = ""

// Take is the Action of taking a token from one of the socket's buckets. It is
// refused RATE_LIMITED if the bucket is empty.
type Take struct {
	Bucket string        // its name, from the configuration: it lives as long as the socket
	Every  time.Duration // the bucket gets a token
	Burst  int           // tokens that it holds at most
}

var errTooOften = &Refusal{Code: RateLimited, Message: "Too many requests"}

func (a *Take) perform(c *call) *Refusal {
	s := c.socket
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.bucketLocked(a.Bucket).take(time.Now(), a.Every, a.Burst) {
		return errTooOften
	}
	return nil
}

func (s *Socket) copyBuckets() []bucket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.buckets)
}

// bucketLocked returns the bucket called name, made on the spot. Those that
// are full are as good as none: they go first.
func (s *Socket) bucketLocked(name string) *bucket {
	i := slices.IndexFunc(s.buckets, func(b bucket) bool { return b.name == name })
	if i < 0 {
		now := time.Now()
		s.buckets = slices.DeleteFunc(s.buckets, func(b bucket) bool { return !b.full.After(now) })
		i = len(s.buckets)
		s.buckets = append(s.buckets, bucket{name: name})
	}
	return &s.buckets[i]
}

func (b *bucket) take(now time.Time, every time.Duration, burst int) bool {
	empty := now.Add(time.Duration(burst) * every) // when a bucket empty by now will be full
	switch {
	case b.full.Before(now):
		b.full = now
	case b.full.After(empty): // the rate was another
		b.full = empty
	}
	full := b.full.Add(every)
	if full.After(empty) {
		return false
	}
	b.full = full
	return true
}
