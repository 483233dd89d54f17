package hub

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/parser"
)

const (
	maxCollected      = 1000      // items of one batch
	maxCollectedBytes = 256 << 10 // bytes of one batch
	maxCollectors     = 10_000    // batches that a namespace may have open
	maxCollecting     = 64 << 20  // bytes of all of them
)

// Batch is the Action of collecting an argument, the only one of the Emission.
// At the end of a window, the hub emits those collected as one array, for each
// event and target. All of it is copied.
type Batch struct {
	Window   time.Duration
	Emission Emission
}

func (a *Batch) perform(c *call) *Refusal {
	e := a.Emission
	if r := e.Resolve(&c.view); r != nil {
		return r
	}
	s, window, item := c.socket, a.Window, e.Args.Clone()
	e.Args, e.Event = parser.Args{}, strings.Clone(e.Event)
	e.To, e.Except = ownAddresses(e.To), ownAddresses(e.Except)
	if c.kind != connectCall {
		return s.ns.collect(s, window, e, item)
	}
	c.later(func() {
		if r := s.ns.collect(s, window, e, item); r != nil {
			c.batched(func(b *engine.Batch) { s.refuse(b, c.event.Name, parser.NoID, r) })
		}
	})
	return nil
}

// ownAddresses copies addresses whose names may alias a message.
func ownAddresses(list []Address) []Address {
	list = slices.Clone(list)
	for i := range list {
		list[i].Name = strings.Clone(list[i].Name)
	}
	return list
}

// collectors are the batches of a namespace whose window is open, one for
// each event, target and window.
type collectors struct {
	mu    sync.Mutex
	open  map[string]*collector
	bytes int // of all items
}

// collector is one batch. Its fields are guarded by collectors.mu.
type collector struct {
	from     *Socket
	emission Emission
	array    parser.Builder // the array so far, its end missing
	size     int            // bytes of the items
	cost     int            // bytes of the rest
	items    int
	bin      int  // binary values of the items
	literal  bool // an item looks as if it had binary values, see parser.LooksBinary
	timer    *time.Timer
}

// fits reports whether item can go into the same packet as those before it.
func (c *collector) fits(item parser.Args, literal bool) bool {
	bin := c.bin + len(item.Bin)
	return bin <= parser.MaxAttachments && (bin == 0 || !literal && !c.literal)
}

func (c *collector) add(item parser.Args, literal bool) {
	separator := byte(',')
	if c.items == 0 {
		separator = '['
	}
	c.array.JSON = append(c.array.JSON, separator)
	c.array.AddRaw(item.JSON, item.Bin)
	c.items++
	c.size += item.Len()
	c.bin += len(item.Bin)
	c.literal = c.literal || literal
}

func (c *collector) isFull() bool {
	return c.items >= maxCollected || c.size >= maxCollectedBytes || c.bin == parser.MaxAttachments
}

// collect adds item, one value, to the batch that e names. The array goes out
// when window has passed since its first item, when it is full, or when an item
// comes that cannot go into one packet with those before it. collect keeps item.
func (n *Namespace) collect(from *Socket, window time.Duration, e Emission, item parser.Args) *Refusal {
	n.spendAhead(nil, from, &e, item.Len())
	e.paid = true
	key := collectorKey(from, window, &e)
	literal := len(item.Bin) == 0 && parser.LooksBinary(item.JSON)
	cs := &n.collectors
	cs.mu.Lock()
	c := cs.open[key]
	for c != nil && !c.fits(item, literal) {
		cs.mu.Unlock()
		n.emitCollected(key, c)
		cs.mu.Lock()
		c = cs.open[key]
	}
	if cs.bytes+item.Len() > maxCollecting || c == nil && len(cs.open) >= maxCollectors {
		cs.mu.Unlock()
		return &Refusal{Code: Busy, Message: "Too many batches are open"}
	}
	if c == nil {
		c = &collector{from: from, emission: e, cost: batchCost + 2*len(key)} // the key has all names of the emission
		n.hub.engine.Hold(budget.Batches, c.cost)
		c.timer = time.AfterFunc(window, func() { n.hub.insist("batch", func() { n.emitCollected(key, c) }) })
		if cs.open == nil {
			cs.open = map[string]*collector{}
		}
		cs.open[key] = c
	}
	c.add(item, literal)
	cs.bytes += item.Len()
	n.hub.engine.Hold(budget.Batches, item.Len())
	full := c.isFull()
	cs.mu.Unlock()
	if full {
		n.emitCollected(key, c)
	}
	return nil
}

// emitCollected sends a batch, once, and closes its window.
func (n *Namespace) emitCollected(key string, c *collector) {
	cs := &n.collectors
	cs.mu.Lock()
	if cs.open[key] != c {
		cs.mu.Unlock()
		return
	}
	delete(cs.open, key)
	cs.bytes -= c.size
	n.hub.engine.Hold(budget.Batches, -c.size-c.cost)
	cs.mu.Unlock()

	c.timer.Stop()
	c.array.JSON = append(c.array.JSON, ']')
	var err error
	if c.emission.Args, err = c.array.Args(); err != nil { // no item got in that could cause it
		n.hub.log().Error("a batch is lost", "event", c.emission.Event, "error", err)
		return
	}
	b := engine.NewBatch()
	defer b.Flush()
	n.send(b, c.from, &c.emission)
}

// collectorKey is the same for items that belong into one array. Names are
// quoted, so that no choice of names makes two keys one.
func collectorKey(from *Socket, window time.Duration, e *Emission) string {
	var k strings.Builder
	fmt.Fprintf(&k, "%d %q %d %v", window, e.Event, e.Scope, e.Volatile)
	if e.Scope == ToSelf || e.NotSelf {
		fmt.Fprintf(&k, " from %q", from.id)
	}
	for _, a := range e.To {
		fmt.Fprintf(&k, " to %d %q", a.Kind, a.Name)
	}
	for _, a := range e.Except {
		fmt.Fprintf(&k, " except %d %q", a.Kind, a.Name)
	}
	return k.String()
}
