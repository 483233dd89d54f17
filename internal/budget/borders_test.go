package budget_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/internal/budget"
)

func TestNoLimitOfConnectionsIsZero(t *testing.T) {
	var a budget.Accounts[string]
	for range 100 {
		if a.Hold("ann", 0, 0) == nil {
			t.Fatal("refused without a limit")
		}
	}
}

func TestAccountsAreForgottenAfterAMinute(t *testing.T) {
	for later, want := range map[time.Duration]int{time.Minute - 1: 2, time.Minute: 1} {
		var a budget.Accounts[string]
		a.Visit("ann", 0)
		a.Visit("bob", later)
		if n := a.Len(); n != want {
			t.Errorf("%d accounts after %v, want %d", n, later, want)
		}
	}
}

func TestThe65536LatestAccountsAreKept(t *testing.T) {
	var a budget.Accounts[string]
	ann := a.Visit("ann", 0)
	for i := range 1<<16 - 1 {
		a.Visit(fmt.Sprint(i), 0)
	}
	if a.Visit("ann", 0) != ann {
		t.Error("one of 65,536 was forgotten")
	}
}

func TestWithoutARateNothingIsRefused(t *testing.T) {
	for _, r := range []budget.Rate{{}, {Burst: 1}, {PerSecond: -1, Burst: 1}} {
		var b budget.Bucket
		for range 2 {
			if !r.Off() || !b.Take(r, 1<<40, 0) {
				t.Errorf("%+v refuses", r)
			}
		}
	}
	if (budget.Rate{PerSecond: 0.1}).Off() {
		t.Error("a slow rate is no limit")
	}
}

func TestRatesMultiplyForThoseWhoShareABucket(t *testing.T) {
	if got, want := (budget.Rate{PerSecond: 10, Burst: 20}).Times(2.5), (budget.Rate{PerSecond: 25, Burst: 50}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestAHugeDebtIsNotForgiven(t *testing.T) {
	r := budget.Rate{PerSecond: 1e-9, Burst: 1}
	var b budget.Bucket
	if !b.Take(r, 1<<40, time.Hour) {
		t.Fatal("refused by a full bucket")
	}
	for _, later := range []time.Duration{time.Hour, 50 * 365 * 24 * time.Hour} {
		if b.Take(r, 1, later) {
			t.Errorf("paid after %v", later)
		}
	}
}

func TestEachLimitIsCountedUnderItsName(t *testing.T) {
	var c budget.Counts
	for range 3 {
		c.Add(budget.Events)
	}
	c.Add(budget.MemoryUse)
	got := map[string]uint64{}
	c.Each(func(kind string, n uint64) {
		if _, twice := got[kind]; twice || kind == "" {
			t.Errorf("%q is no name of one limit", kind)
		}
		got[kind] = n
	})
	if got["events"] != 3 || got["memory"] != 1 || got["bytes"] != 0 {
		t.Error(got)
	}
}

func TestMemoryAddsUpByUse(t *testing.T) {
	var m budget.Memory
	m.Add(budget.Outboxes, 100)
	m.Add(budget.Recovery, 20)
	if total := m.Add(budget.Outboxes, -30); total != 90 || m.Total() != 90 {
		t.Errorf("%d and %d bytes in total, want 90", total, m.Total())
	}
	got := map[string]int64{}
	m.Each(func(use string, bytes int64) {
		if _, twice := got[use]; twice || use == "" {
			t.Errorf("%q is no name of one use", use)
		}
		got[use] = bytes
	})
	if got["outboxes"] != 70 || got["recovery"] != 20 || got["input"] != 0 {
		t.Error(got)
	}
}
