package budget

import "sync/atomic"

// Use is what clients make the process hold memory for. The list is fixed:
// uses are labels of a metric.
type Use uint8

const (
	Outboxes      Use = iota // messages that clients have not taken yet
	Input                    // messages and packets that have not arrived completely
	Waiting                  // events that wait for a rule, or whose rules wait
	Batches                  // items that rules collect
	Sockets                  // handshakes, rooms and data of sockets
	Dedupe                   // answers that are kept for repeated events
	Presence                 // who is where and who types
	Announcements            // what is to be told of presence, and who knows it
	Recovery                 // what sockets may find again that lose their connection
	uses
)

var useNames = [uses]string{"outboxes", "input", "waiting", "batches", "sockets", "dedupe", "presence", "announcements", "recovery"}

// String is the use's label.
func (u Use) String() string { return useNames[u] }

// Memory adds up what is held, in bytes, about. It is safe for concurrent use.
// Whoever adds something takes it off again.
type Memory struct {
	total atomic.Int64
	by    [uses]atomic.Int64
}

// Add adds n, which may be negative, and returns the total.
func (m *Memory) Add(u Use, n int) (total int64) {
	m.by[u].Add(int64(n))
	return m.total.Add(int64(n))
}

// Total is what all uses hold.
func (m *Memory) Total() int64 { return m.total.Load() }

// Of is what one use holds.
func (m *Memory) Of(u Use) int64 { return m.by[u].Load() }

// Each calls f for every use.
func (m *Memory) Each(f func(use string, bytes int64)) {
	for u := range m.by {
		f(Use(u).String(), m.by[u].Load())
	}
}
