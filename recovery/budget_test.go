package recovery_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/caddy-realtime/realtime/recovery"
)

type keeper int

func (k *keeper) Kept() int      { return int(*k) }
func (k *keeper) Shed(bytes int) { *k = max(*k-keeper(bytes), 0) }

func TestShedTakesFromEachItsShare(t *testing.T) {
	var b recovery.Budget
	large, small, none := keeper(9000), keeper(1000), keeper(500)
	for _, k := range []*keeper{&large, &small, &none} {
		b.Keeps(k, true)
	}
	b.Keeps(&none, false)
	b.Shed(5000)
	if large > 4500 || small > 500 || large < 4490 || small < 490 || none != 500 {
		t.Errorf("left: %d, %d, %d", large, small, none)
	}
	b.Shed(1 << 40)
	if large != 0 || small != 0 {
		t.Errorf("left: %d, %d", large, small)
	}
	b.Shed(1)
}

func TestExceededHoldsForLargerSharesOnly(t *testing.T) {
	var b recovery.Budget
	var one, two keeper
	b.Keeps(&one, true)
	b.Keeps(&two, true)
	b.GrowEvents(1000)
	for _, c := range []struct {
		own, limit int
		want       bool
	}{{900, 1000, false}, {900, 999, true}, {100, 999, false}, {499, 999, false}, {500, 999, true}} {
		if got := b.Exceeded(c.own, c.limit); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// Seats are never more than the limit, an owner's share holds, and whoever has
// less than others finds a place.
func TestSeatsAreSharedFairly(t *testing.T) {
	const limit = 16_000
	dice := rand.New(rand.NewPCG(1, 1))
	var b recovery.Budget
	type seated struct {
		*recovery.Seat
		owner string
		bytes int
	}
	var all []seated
	sums, sum := map[string]int{}, 0
	drop := func(s *recovery.Seat) {
		for i := range all {
			if all[i].Seat == s {
				sums[all[i].owner] -= all[i].bytes
				sum -= all[i].bytes
				all = append(all[:i], all[i+1:]...)
				return
			}
		}
		t.Fatal("one gives way that has no place")
	}
	for i := range 20_000 {
		if len(all) > 0 && dice.IntN(5) == 0 {
			s := all[dice.IntN(len(all))].Seat
			b.Leave(s)
			b.Leave(s)
			drop(s)
			continue
		}
		owner, capped := fmt.Sprint(dice.IntN(40)), true
		if dice.IntN(3) == 0 {
			owner, capped = "exempt", false
		}
		bytes := 100 + dice.IntN(300)
		seat, evicted := b.Seat(owner, i, bytes, limit, capped)
		for _, s := range evicted {
			drop(s)
		}
		if seat == nil {
			most := 0
			for _, n := range sums {
				most = max(most, n)
			}
			if sums[owner]+bytes < most {
				t.Fatalf("no place for %s with %d of %d and %d, another has %d", owner, sums[owner], sum, bytes, most)
			}
			continue
		}
		all = append(all, seated{seat, owner, bytes})
		sums[owner] += bytes
		if sum += bytes; sum > limit {
			t.Fatalf("%d bytes", sum)
		}
		if capped && sums[owner] > limit/16 {
			t.Fatalf("%s has %d", owner, sums[owner])
		}
	}
	if seat, _ := b.Seat("large", 0, limit/16+1, limit, true); seat != nil {
		t.Error("more than a share found a place")
	}
}
