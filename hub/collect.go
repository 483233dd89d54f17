package hub

import (
	"fmt"
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
	json     []byte // the array so far, its end missing
	cost     int    // bytes beside it
	items    int
	timer    *time.Timer
}

// collect adds item, one JSON value, to the batch that e names. The array goes
// out when window has passed since its first item, or when it is full.
func (n *Namespace) collect(from *Socket, window time.Duration, e Emission, item []byte) *Refusal {
	if r := n.payAhead(nil, from, &e, len(item)); r != nil {
		return r
	}
	e.paid = true
	key := collectorKey(from, window, &e)
	cs := &n.collectors
	cs.mu.Lock()
	c := cs.open[key]
	if cs.bytes+len(item) > maxCollecting || c == nil && len(cs.open) >= maxCollectors {
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
	c.json = append(append(c.json, ','), item...)
	cs.bytes += len(item)
	n.hub.engine.Hold(budget.Batches, len(item))
	c.items++
	full := c.items >= maxCollected || len(c.json) >= maxCollectedBytes
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
	size := len(c.json) - c.items // less the commas
	cs.bytes -= size
	n.hub.engine.Hold(budget.Batches, -size-c.cost)
	cs.mu.Unlock()

	c.timer.Stop()
	c.json[0] = '['
	c.emission.Args = parser.Args{JSON: append(c.json, ']')}
	b := engine.NewBatch()
	defer b.Flush()
	n.send(b, c.from, &c.emission) // paid: not refused
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
