package budget

import "sync/atomic"

// Kind is a limit that can be exhausted. The list is fixed: kinds are labels
// of a metric.
type Kind uint8

const (
	// What a client uses up as it goes on, in a Meter.
	Bytes  Kind = iota // bytes of input
	Events             // packets
	Fanout             // bytes of output that they caused
	CPU                // nanoseconds that rules took for them

	Connections        // open sessions
	Handshakes         // handshakes in progress
	Accept             // new sessions
	ConnectRate        // new sessions of one address
	ConnectionsPerIP   // open sessions of one address
	ConnectionsPerUser // open sessions of one user
	Connects           // CONNECT packets of one session
	MemoryUse          // memory that all clients together hold
	kinds
)

var kindNames = [kinds]string{"bytes", "events", "fanout", "cpu", "connections", "handshakes", "accept",
	"connect_rate", "connections_per_ip", "connections_per_user", "connects", "memory"}

// String is the kind's label.
func (k Kind) String() string { return kindNames[k] }

// Counts counts how often each limit refused a client or made it wait. It is safe for concurrent use.
type Counts [kinds]atomic.Uint64

// Add counts one more.
func (c *Counts) Add(k Kind) { c[k].Add(1) }

// Each calls f for every kind.
func (c *Counts) Each(f func(kind string, n uint64)) {
	for k := range c {
		f(Kind(k).String(), c[k].Load())
	}
}
