package budget_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/internal/budget"
)

func TestBucketGivesTheBurstThenTheRate(t *testing.T) {
	r := budget.Rate{PerSecond: 10, Burst: 20}
	var b budget.Bucket
	take := func(at time.Duration, n int, want bool) {
		t.Helper()
		if got := b.Take(r, n, at); got != want {
			t.Fatalf("%d at %v: %v", n, at, got)
		}
	}
	for range 20 {
		take(time.Hour, 1, true)
	}
	take(time.Hour, 1, false)
	take(time.Hour+99*time.Millisecond, 1, false)
	take(time.Hour+100*time.Millisecond, 1, true)
	take(time.Hour+time.Second, 10, false)
	take(time.Hour+time.Second, 9, true)
	take(2*time.Hour, 20, true) // no more than the burst was saved
	take(2*time.Hour, 1, false)
}

// What is larger than the burst passes when the bucket is full, and is paid
// for afterwards.
func TestBucketTakesOneOfAnySize(t *testing.T) {
	r := budget.Rate{PerSecond: 10, Burst: 20}
	var b budget.Bucket
	if !b.Take(r, 100, time.Second) {
		t.Fatal("refused by a full bucket")
	}
	if b.Take(r, 1, 9*time.Second) {
		t.Fatal("taken before the debt was paid")
	}
	if !b.Take(r, 1, 10*time.Second) {
		t.Fatal("refused after the debt was paid")
	}
}

func TestSpendTellsHowLongToWait(t *testing.T) {
	r := budget.Rate{PerSecond: 100, Burst: 200}
	var b budget.Bucket
	for _, step := range []struct {
		at   time.Duration
		n    int
		wait time.Duration
	}{
		{time.Second, 200, 0},
		{time.Second, 50, 500 * time.Millisecond},
		{1500 * time.Millisecond, 50, 500 * time.Millisecond},
		{time.Minute, 200, 0},
	} {
		if _, wait := b.Spend(r, step.n, step.at); wait != step.wait {
			t.Errorf("%d at %v: wait %v, want %v", step.n, step.at, wait, step.wait)
		}
	}
}

func TestNoRateIsNoLimit(t *testing.T) {
	var b budget.Bucket
	if _, wait := b.Spend(budget.Rate{}, 1<<40, 0); !b.Take(budget.Rate{}, 1<<40, 0) || wait != 0 {
		t.Error("no rate is a limit")
	}
}

func TestBucketIsShared(t *testing.T) {
	r := budget.Rate{PerSecond: 1, Burst: 1000}
	var b budget.Bucket
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if b.Take(r, 1, time.Second) {
					taken.Add(1)
				}
			}
		})
	}
	all.Wait()
	if taken.Load() != 1000 {
		t.Errorf("%d taken of 1000", taken.Load())
	}
}

func TestAccountsAreKeptForAMinute(t *testing.T) {
	var a budget.Accounts[string]
	first := a.Hold("ann", 2, 0)
	if first == nil || a.Hold("ann", 2, 0) != first || a.Hold("ann", 2, 0) != nil {
		t.Fatal("no limit of connections")
	}
	a.Release("ann", time.Hour)
	a.Release("ann", time.Hour)
	if a.Hold("ann", 2, time.Hour+59*time.Second) != first {
		t.Error("forgotten within a minute")
	}
	a.Release("ann", 2*time.Hour)
	a.Visit("bob", 2*time.Hour+61*time.Second)
	if a.Len() != 1 {
		t.Errorf("%d accounts", a.Len())
	}
	// One in steady use keeps nobody else.
	a.Visit("carl", 2*time.Hour+62*time.Second)
	for i := range 100 {
		a.Visit("bob", 2*time.Hour+time.Duration(63+i)*time.Second)
	}
	if a.Len() != 1 {
		t.Errorf("%d accounts", a.Len())
	}
}

func TestAccountsAreBounded(t *testing.T) {
	var a budget.Accounts[string]
	a.Hold("held", 1, 0)
	for i := range 100_000 {
		a.Visit(fmt.Sprint(i), time.Second)
	}
	if n := a.Len(); n > 1<<16+2 {
		t.Errorf("%d accounts", n)
	}
	if a.Hold("held", 1, time.Second) != nil {
		t.Error("one with a connection was forgotten")
	}
}
