//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// waits counts how long something took, by hundredths of a millisecond. It is
// safe for concurrent use.
type waits struct {
	buckets [500_000]atomic.Uint32
	count   atomic.Int64
	most    atomic.Int64
}

const bucket = 10 * time.Microsecond

func (w *waits) add(d time.Duration) {
	w.buckets[min(max(int(d/bucket), 0), len(w.buckets)-1)].Add(1)
	w.count.Add(1)
	for most := w.most.Load(); int64(d) > most && !w.most.CompareAndSwap(most, int64(d)); most = w.most.Load() {
	}
}

// percentile is what the part p of all took at most, in milliseconds.
func (w *waits) percentile(p float64) float64 {
	rest := int64(p * float64(w.count.Load()))
	for i := range w.buckets {
		if rest -= int64(w.buckets[i].Load()); rest < 0 {
			return (time.Duration(i) * bucket).Seconds() * 1e3
		}
	}
	return time.Duration(w.most.Load()).Seconds() * 1e3
}

func (w *waits) String() string {
	return fmt.Sprintf("p50 %.1f, p90 %.1f, p99 %.1f, p99.9 %.1f, most %.1f ms of %d", w.percentile(.5), w.percentile(.9),
		w.percentile(.99), w.percentile(.999), float64(w.most.Load())/1e6, w.count.Load())
}

// probe is a visitor of another site of the same server: it asks again and
// again, on a new connection each time.
type probe struct {
	waits

	mu   sync.Mutex
	bad  int
	last error // what was bad
}

// run asks until ctx ends.
func (p *probe) run(ctx context.Context, url string, every time.Duration) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}, Timeout: 10 * time.Second}
	for due := time.Now(); sleep(ctx, time.Until(due)); due = due.Add(every) {
		began := time.Now()
		err := p.ask(client, url)
		p.add(time.Since(began))
		if err != nil {
			p.mu.Lock()
			p.bad, p.last = p.bad+1, err
			p.mu.Unlock()
		}
	}
}

func (p *probe) ask(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", resp.Status)
	}
	return nil
}

// check notes whether all answers were good.
func (p *probe) check(t *trial, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.check(p.bad == 0 && p.count.Load() > 0, "%s: %d of %d answers were not 200 (%v); %s", what, p.bad, p.count.Load(), p.last, p)
}

// ownCPU is the processor time that this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const mega = 1e6

// median is the middle one of all, which it sorts.
func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
