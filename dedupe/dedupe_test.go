package dedupe_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/dedupe"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type table = dedupe.Table[string, string]

// newTable counts in held what the table holds.
func newTable(limits dedupe.Limits) (t *table, held *int) {
	held = new(int)
	return dedupe.New[string, string](limits, func(n int) { *held += n }), held
}

func key(user, name string) dedupe.Key {
	return dedupe.Key{Owner: dedupe.Owner{User: user}, Event: "e", Name: name}
}

func begin(t *testing.T, d *table, k dedupe.Key, now time.Time) (*dedupe.Entry[string, string], bool) {
	t.Helper()
	e, first, err := d.Begin(k, time.Minute, now)
	if err != nil {
		t.Fatal(err)
	}
	return e, first
}

func TestAnswerIsKeptForItsTime(t *testing.T) {
	d, held := newTable(dedupe.DefaultLimits)
	e, first := begin(t, d, key("ann", "k"), start)
	if !first || !e.Running() {
		t.Fatal("the first request does not run")
	}
	if waited := d.Finish(e, "done", 4, start); len(waited) != 0 {
		t.Errorf("%q have waited", waited)
	}
	e, first = begin(t, d, key("ann", "k"), start.Add(time.Minute-1))
	if first || e.Running() || e.Answer() != "done" {
		t.Errorf("a repeat in time gets %q, first: %v", e.Answer(), first)
	}
	if _, first = begin(t, d, key("ann", "k"), start.Add(time.Minute)); !first {
		t.Error("a repeat after the time does not run")
	}
	d.Expire(start.Add(time.Hour)) // what runs does not expire
	if *held == 0 {
		t.Error("a request that runs takes nothing")
	}
}

func TestKeysOfDifferentOwnersAndEventsDiffer(t *testing.T) {
	d, _ := newTable(dedupe.DefaultLimits)
	for _, k := range []dedupe.Key{
		{Owner: dedupe.Owner{User: "a"}, Event: "e", Name: "k"},
		{Owner: dedupe.Owner{User: "b"}, Event: "e", Name: "k"},
		{Owner: dedupe.Owner{Socket: "a"}, Event: "e", Name: "k"},
		{Owner: dedupe.Owner{User: "a"}, Event: "f", Name: "k"},
		{Owner: dedupe.Owner{User: "a"}, Event: "e", Name: "l"},
	} {
		if _, first := begin(t, d, k, start); !first {
			t.Errorf("%v does not run", k)
		}
	}
}

func TestWaitersGetTheAnswerInOrder(t *testing.T) {
	d, _ := newTable(dedupe.DefaultLimits)
	e, _ := begin(t, d, key("ann", "k"), start)
	for i := range 3 {
		if err := d.Wait(e, fmt.Sprint(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if next, ok := d.Abandon(e); !ok || next != "0" || !e.Running() {
		t.Fatalf("after a failure %q runs: %v", next, ok)
	}
	if waited := d.Finish(e, "done", 4, start); !slices.Equal(waited, []string{"1", "2"}) {
		t.Errorf("%q get the answer", waited)
	}
}

func TestFailureWithoutWaitersLeavesNothing(t *testing.T) {
	d, held := newTable(dedupe.DefaultLimits)
	e, _ := begin(t, d, key("ann", "k"), start)
	if next, ok := d.Abandon(e); ok {
		t.Errorf("%q runs", next)
	}
	if *held != 0 {
		t.Errorf("%d bytes are held", *held)
	}
}

func TestLimitsOfAnOwner(t *testing.T) {
	limits := dedupe.Limits{Key: 3, Entries: 2, Bytes: 2000, TotalBytes: 10_000, Waiters: 2, WaiterBytes: 10}
	d, _ := newTable(limits)
	if _, _, err := d.Begin(key("ann", "four"), time.Minute, start); err != dedupe.ErrKey {
		t.Errorf("a long key: %v", err)
	}
	a, _ := begin(t, d, key("ann", "a"), start)
	if d.Fits(a, 2000) || !d.Fits(a, 1000) {
		t.Error("Fits does not go by the limit of the owner")
	}
	begin(t, d, key("ann", "b"), start)
	if _, _, err := d.Begin(key("ann", "c"), time.Minute, start); err != dedupe.ErrEntries {
		t.Errorf("a third request at work: %v", err)
	}
	if _, first := begin(t, d, key("bob", "c"), start); !first {
		t.Error("another owner is limited, too")
	}
	for _, test := range []struct {
		bytes int
		want  error
	}{{11, dedupe.ErrWaiters}, {9, nil}, {2, dedupe.ErrWaiters}, {1, nil}, {0, dedupe.ErrWaiters}} {
		if err := d.Wait(a, "w", test.bytes); err != test.want {
			t.Errorf("%d bytes wait: %v, want %v", test.bytes, err, test.want)
		}
	}
	d.Finish(a, "x", 1, start)
	if _, first := begin(t, d, key("ann", "c"), start); !first { // in the place of the answer
		t.Error("an answer is worth more than a new request")
	}
	if _, first := begin(t, d, key("bob", "c"), start); first {
		t.Error("another owner's request is gone")
	}
}

func TestShedDropsTheOldestAnswersOfAll(t *testing.T) {
	d, held := newTable(dedupe.DefaultLimits)
	running, _ := begin(t, d, key("ann", "runs"), start)
	for _, name := range []string{"ann", "bob", "eve"} {
		e, _ := begin(t, d, key(name, "ended"), start)
		d.Finish(e, "x", 1000, start)
	}
	before := *held
	d.Shed(1001)
	if free := before - *held; free < 1001 || free > 1500 || d.Answers() != 2 {
		t.Errorf("%d bytes are free, %d answers left", free, d.Answers())
	}
	if _, first := begin(t, d, key("bob", "ended"), start); first {
		t.Error("a later answer is gone")
	}
	d.Shed(10_000)
	if d.Answers() != 0 || !running.Running() || d.Bytes() != *held {
		t.Errorf("%d answers are left; ann's request runs: %v; %d bytes, %d held", d.Answers(), running.Running(), d.Bytes(), *held)
	}
}

func TestForgetAndClearDropAnswersOnly(t *testing.T) {
	d, held := newTable(dedupe.DefaultLimits)
	for _, name := range []string{"ann", "bob", "eve"} {
		e, _ := begin(t, d, key(name, "ended"), start)
		d.Finish(e, "x", 1, start)
	}
	running, _ := begin(t, d, key("eve", "runs"), start)
	d.Forget(dedupe.Owner{User: "ann"})
	d.Forget(dedupe.Owner{User: "nobody"})
	if _, first := begin(t, d, key("ann", "ended"), start); !first {
		t.Error("ann's answer is still there")
	}
	if d.Answers() != 2 {
		t.Errorf("%d answers are left", d.Answers())
	}
	d.Clear()
	if d.Answers() != 0 || !running.Running() {
		t.Errorf("%d answers are left; eve's request runs: %v", d.Answers(), running.Running())
	}
	d.Abandon(running)
	e, _ := begin(t, d, key("ann", "ended"), start)
	d.Abandon(e)
	if *held != 0 {
		t.Errorf("%d bytes are held", *held)
	}
}

// A model remembers all that ever was and works each answer out from that.
type model struct {
	limits  dedupe.Limits
	entries []*modelEntry // in the order in which they began
	ended   []*modelEntry // in the order in which they ended
}

type modelEntry struct {
	key     dedupe.Key
	bytes   int
	expires time.Time // zero: it runs
	answer  string
	waiters []string
}

const entryCost = 400

func (m *model) find(k dedupe.Key) *modelEntry {
	for _, e := range m.entries {
		if e.key == k {
			return e
		}
	}
	return nil
}

func (m *model) drop(e *modelEntry) {
	m.entries = slices.DeleteFunc(m.entries, func(x *modelEntry) bool { return x == e })
	m.ended = slices.DeleteFunc(m.ended, func(x *modelEntry) bool { return x == e })
}

func (m *model) of(o dedupe.Owner) (entries, bytes, waiters int) {
	for _, e := range m.entries {
		if e.key.Owner == o {
			entries, bytes, waiters = entries+1, bytes+e.bytes, waiters+len(e.waiters)
		}
	}
	return entries, bytes, waiters
}

func (m *model) bytes() (n int) {
	for _, e := range m.entries {
		n += e.bytes
	}
	return n
}

func (m *model) trim(o dedupe.Owner) {
	for {
		entries, bytes, _ := m.of(o)
		i := slices.IndexFunc(m.ended, func(e *modelEntry) bool { return e.key.Owner == o })
		if i < 0 || entries <= m.limits.Entries && bytes <= m.limits.Bytes {
			break
		}
		m.drop(m.ended[i])
	}
	for len(m.ended) > 0 && m.bytes() > m.limits.TotalBytes {
		m.drop(m.ended[0])
	}
}

// TestTableDoesWhatTheModelDoes runs random requests against both.
func TestTableDoesWhatTheModelDoes(t *testing.T) {
	limits := dedupe.Limits{Key: 8, Entries: 4, Bytes: 3000, TotalBytes: 8000, Waiters: 3, WaiterBytes: 100}
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		d, held := newTable(limits)
		m := &model{limits: limits}
		running := map[dedupe.Key]*dedupe.Entry[string, string]{}
		now := start
		for step := range 2000 {
			now = now.Add(time.Duration(rnd.IntN(1000)) * time.Millisecond)
			k := key(string(rune('a'+rnd.IntN(4))), fmt.Sprint(rnd.IntN(7)))
			at := fmt.Sprintf("seed %d, step %d, %v", seed, step, k)
			switch rnd.IntN(10) {
			default:
				compareBegin(t, at, d, m, running, k, now, rnd)
			case 0, 1, 2:
				ended := anyOf(running, rnd)
				if ended == nil {
					continue
				}
				compareEnd(t, at, d, m, running, *ended, now, rnd)
			case 3:
				d.Expire(now)
				for _, e := range slices.Clone(m.ended) {
					if !now.Before(e.expires) {
						m.drop(e)
					}
				}
			case 4:
				d.Forget(k.Owner)
				for _, e := range slices.Clone(m.ended) {
					if e.key.Owner == k.Owner {
						m.drop(e)
					}
				}
			}
			if *held != m.bytes() || d.Answers() != len(m.ended) {
				t.Fatalf("%s: %d bytes and %d answers, the model has %d and %d", at, *held, d.Answers(), m.bytes(), len(m.ended))
			}
		}
		for k, e := range running {
			for _, ok := d.Abandon(e); ok; _, ok = d.Abandon(e) {
			}
			delete(running, k)
		}
		if d.Clear(); *held != 0 {
			t.Fatalf("seed %d: %d bytes are left", seed, *held)
		}
	}
}

func anyOf(running map[dedupe.Key]*dedupe.Entry[string, string], rnd *rand.Rand) *dedupe.Key {
	keys := slices.SortedFunc(maps.Keys(running), func(a, b dedupe.Key) int {
		return strings.Compare(a.Owner.User+a.Name, b.Owner.User+b.Name)
	})
	if len(keys) == 0 {
		return nil
	}
	return &keys[rnd.IntN(len(keys))]
}

func compareBegin(t *testing.T, at string, d *table, m *model, running map[dedupe.Key]*dedupe.Entry[string, string], k dedupe.Key, now time.Time, rnd *rand.Rand) {
	t.Helper()
	e, first, err := d.Begin(k, 5*time.Second, now)
	was := m.find(k)
	if was != nil && !was.expires.IsZero() && !now.Before(was.expires) {
		m.drop(was)
		was = nil
	}
	if was != nil {
		if first || err != nil || e.Running() != was.expires.IsZero() || e.Answer() != was.answer {
			t.Fatalf("%s: first %v, %v; the model has %+v", at, first, err, was)
		}
		if !e.Running() {
			return
		}
		_, _, waiters := m.of(k.Owner)
		name := fmt.Sprint("w", rnd.IntN(1000))
		if err := d.Wait(e, name, 1); (err == nil) != (waiters < m.limits.Waiters) {
			t.Fatalf("%s: waiting: %v; %d wait in the model", at, err, waiters)
		} else if err == nil {
			was.waiters = append(was.waiters, name)
		}
		return
	}
	began := &modelEntry{key: k, bytes: entryCost + len(k.Event) + len(k.Name)}
	m.entries = append(m.entries, began)
	m.trim(k.Owner)
	entries, _, _ := m.of(k.Owner)
	if entries > m.limits.Entries || m.bytes() > m.limits.TotalBytes {
		m.drop(began)
		if err != dedupe.ErrEntries {
			t.Fatalf("%s: %v, the model has no place", at, err)
		}
		return
	}
	if !first || err != nil {
		t.Fatalf("%s: first %v, %v; the model runs it", at, first, err)
	}
	running[k] = e
}

func compareEnd(t *testing.T, at string, d *table, m *model, running map[dedupe.Key]*dedupe.Entry[string, string], k dedupe.Key, now time.Time, rnd *rand.Rand) {
	t.Helper()
	e, want := running[k], m.find(k)
	if rnd.IntN(3) == 0 {
		next, ok := d.Abandon(e)
		if ok != (len(want.waiters) > 0) || ok && next != want.waiters[0] {
			t.Fatalf("%s: %q runs: %v; the model has %q", at, next, ok, want.waiters)
		}
		if ok {
			want.waiters = want.waiters[1:]
			return
		}
		delete(running, k)
		m.drop(want)
		return
	}
	size := rnd.IntN(1500)
	if fits := want.bytes+size <= m.limits.Bytes; d.Fits(e, size) != fits {
		t.Fatalf("%s: an answer of %d bytes fits: %v", at, size, !fits)
	}
	answer := fmt.Sprint("answer ", rnd.IntN(1000))
	if waited := d.Finish(e, answer, size, now); !slices.Equal(waited, want.waiters) {
		t.Fatalf("%s: %q have waited, the model has %q", at, waited, want.waiters)
	}
	delete(running, k)
	want.bytes, want.answer, want.expires, want.waiters = want.bytes+size, answer, now.Add(5*time.Second), nil
	m.ended = append(m.ended, want)
	m.trim(k.Owner)
}
