package budget

import (
	"sync/atomic"
	"time"
)

const metered = CPU + 1

// Rates are the allowances of a Meter, by kind: bytes, events, fanout, CPU.
type Rates [metered]Rate

// Meter is what one connection, or all that share an account, has used up of
// its Rates. It may be overdrawn: who uses it stops the client's input then,
// until what it owes has come back. The zero value owes nothing. It is safe for
// concurrent use and takes no lock.
type Meter struct {
	buckets [metered]Bucket
	until   atomic.Int64 // nothing is owed from then on, as a time.Duration
}

// Spend counts n of kind k, at the rate r. It returns the time in which that
// much comes back.
func (m *Meter) Spend(k Kind, r Rate, n int, now time.Duration) (cost time.Duration) {
	cost, wait := m.buckets[k].Spend(r, n, now)
	if wait > 0 {
		m.owe(int64(now + wait))
	}
	return cost
}

func (m *Meter) owe(until int64) {
	for {
		old := m.until.Load()
		if old >= until || m.until.CompareAndSwap(old, until) {
			return
		}
	}
}

// Owes reports whether Wait may be more than 0. It is cheap.
func (m *Meter) Owes(now time.Duration) bool { return m.until.Load() > int64(now) }

// Wait is the time until nothing is owed, and the kind that is owed longest. The
// rates, of which n clients' worth apply, may be others than those of Spend: a
// kind without a limit is not waited for.
func (m *Meter) Wait(r *Rates, n float64, now time.Duration) (wait time.Duration, k Kind) {
	old := m.until.Load()
	if old <= int64(now) {
		return 0, 0
	}
	for i := range m.buckets {
		if w := m.buckets[i].Wait(r[i].Times(n), now); w > wait {
			wait, k = w, Kind(i)
		}
	}
	if wait == 0 {
		m.until.CompareAndSwap(old, 0) // the rates have changed
	}
	return wait, k
}

// Full is when everything of kind k that was used will have come back; 0 if none
// ever was.
func (m *Meter) Full(k Kind) time.Duration { return time.Duration(m.buckets[k].full.Load()) }
