// Package broker carries emissions between the nodes of one realtime endpoint.
//
// hub → **broker** → other nodes. It knows names and bytes only: neither
// sockets nor rules nor who is where.
package broker

// Message is one emission on its way to the other nodes. It is immutable and
// may be shared.
type Message struct {
	Namespace string
	Event     string
	JSON      []byte   // the arguments, as parser.Args has them
	Bin       [][]byte // their binary values
	All       bool     // the whole namespace; else the union of Rooms
	Rooms     []string // names as other nodes know them: a user's room is "user:" and the id, a socket's its id
	Except    []string // sockets in these rooms do not get it
	Volatile  bool     // for those only who can take it right now
}

// Broker connects a node with the others. It delivers to the *other* nodes
// only: local delivery is the hub's, direct, and comes first, so that one node
// needs no broker and a lost one never hurts local rooms. Its methods are safe
// for concurrent use.
type Broker interface {
	// Publish hands m to the other nodes, at most once. It does not block.
	// What one goroutine publishes arrives in order. An error means that m
	// may not arrive.
	Publish(m *Message) error
	// Subscribe makes deliver get what other nodes publish from now on, one
	// message at a time, until Close. It is called once.
	Subscribe(deliver func(m *Message))
	// Close leaves the others. No deliver is called when it has returned; it
	// must not be called from within one.
	Close() error
}
