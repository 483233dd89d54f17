// Package budget counts what clients use up: allowances that come back with
// time, who shares one, memory that they hold, and how often a limit said no.
// It has no clock: callers pass the time since a moment of their choice.
package budget

import (
	"math"
	"sync/atomic"
	"time"
)

// Rate is how much a Bucket holds and how fast it fills. The zero value is no
// limit.
type Rate struct {
	PerSecond float64
	Burst     float64 // what a full bucket holds
}

// Off reports whether the rate is no limit.
func (r Rate) Off() bool { return r.PerSecond <= 0 }

// Times is the rate for n that share a bucket.
func (r Rate) Times(n float64) Rate { return Rate{r.PerSecond * n, r.Burst * n} }

// Amount is how much comes back in t; 0 without a limit.
func (r Rate) Amount(t time.Duration) float64 {
	if r.Off() {
		return 0
	}
	return t.Seconds() * r.PerSecond
}

// refill is the time in which n comes back.
func (r Rate) refill(n float64) int64 {
	return int64(min(n*float64(time.Second)/r.PerSecond, math.MaxInt64/4))
}

// Bucket is an allowance. The zero value is a full one. It is safe for
// concurrent use and takes no lock.
type Bucket struct {
	full atomic.Int64 // when it will be full again, as a time.Duration
}

// Take takes n if that much is in the bucket. A full one gives any n, however
// large: what is larger than the burst could never pass otherwise.
func (b *Bucket) Take(r Rate, n int, now time.Duration) bool {
	if r.Off() {
		return true
	}
	cost := r.refill(float64(n))
	for {
		old := b.full.Load()
		debt := max(old-int64(now), 0)
		if debt > 0 && debt+cost > r.refill(r.Burst) {
			return false
		}
		if b.full.CompareAndSwap(old, int64(now)+debt+cost) {
			return true
		}
	}
}

// Spend takes n that is used up already. It returns the time in which n comes
// back, and the time in which everything that the bucket owes does.
func (b *Bucket) Spend(r Rate, n int, now time.Duration) (cost, wait time.Duration) {
	if r.Off() {
		return 0, 0
	}
	c := r.refill(float64(n))
	for {
		old := b.full.Load()
		full := max(old, int64(now)) + c
		if b.full.CompareAndSwap(old, full) {
			return time.Duration(c), max(time.Duration(full-r.refill(r.Burst))-now, 0)
		}
	}
}

// Wait is the time in which what the bucket owes comes back.
func (b *Bucket) Wait(r Rate, now time.Duration) time.Duration {
	if r.Off() {
		return 0
	}
	return max(time.Duration(b.full.Load()-r.refill(r.Burst))-now, 0)
}
