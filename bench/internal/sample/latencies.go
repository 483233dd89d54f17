//go:build linux

package sample

import (
	"sync/atomic"
	"time"
)

const (
	resolution = 20 * time.Microsecond
	longest    = 2 * time.Second // a longer latency counts as this
)

// Latencies is a histogram. Its methods may be called concurrently.
type Latencies struct {
	counts [longest/resolution + 1]atomic.Int64
	total  atomic.Int64
}

// Add counts one latency.
func (l *Latencies) Add(d time.Duration) {
	l.counts[min(max(d, 0), longest)/resolution].Add(1)
	l.total.Add(1)
}

// Reset forgets all latencies.
func (l *Latencies) Reset() {
	for i := range l.counts {
		l.counts[i].Store(0)
	}
	l.total.Store(0)
}

// Percentile is the latency, in milliseconds, that the fraction p of all
// latencies does not exceed by more than the resolution of 0.02 ms; 0 if there
// are no latencies.
func (l *Latencies) Percentile(p float64) float64 {
	rank := int64(p * float64(l.total.Load()))
	for i := range l.counts {
		if rank -= l.counts[i].Load(); rank < 0 {
			return (time.Duration(i) * resolution).Seconds() * 1e3
		}
	}
	return 0
}
