package broker

import (
	"errors"
	"sync"
)

// ErrClosed means that the broker was closed.
var ErrClosed = errors.New("broker is closed")

// ErrFull means that a node does not keep up and misses the message.
var ErrFull = errors.New("a node's queue is full")

// queueLength is how many messages may wait for one node.
const queueLength = 1024

// Memory connects nodes within one process, for tests. It is safe for
// concurrent use.
type Memory struct {
	mu    sync.RWMutex
	nodes map[*memoryNode]struct{}
}

// NewMemory returns a Memory without nodes.
func NewMemory() *Memory { return &Memory{nodes: map[*memoryNode]struct{}{}} }

// Node returns the Broker of one more node.
func (m *Memory) Node() Broker {
	return &memoryNode{bus: m, queue: make(chan *Message, queueLength), closed: make(chan struct{}), done: make(chan struct{})}
}

type memoryNode struct {
	bus    *Memory
	queue  chan *Message
	closed chan struct{}
	done   chan struct{} // closed when deliver is not called any more

	once       sync.Once
	subscribed bool // guarded by bus.mu
}

func (n *memoryNode) Publish(m *Message) (err error) {
	n.bus.mu.RLock()
	defer n.bus.mu.RUnlock()
	select {
	case <-n.closed:
		return ErrClosed
	default:
	}
	for other := range n.bus.nodes {
		if other == n {
			continue
		}
		select {
		case other.queue <- m:
		default:
			err = ErrFull
		}
	}
	return err
}

func (n *memoryNode) Subscribe(deliver func(m *Message)) {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	n.subscribed = true
	n.bus.nodes[n] = struct{}{}
	go n.run(deliver)
}

func (n *memoryNode) run(deliver func(m *Message)) {
	defer close(n.done)
	for {
		select {
		case m := <-n.queue:
			deliver(m)
		case <-n.closed:
			return
		}
	}
}

func (n *memoryNode) Close() error {
	n.bus.mu.Lock()
	delete(n.bus.nodes, n)
	subscribed := n.subscribed
	n.bus.mu.Unlock()
	n.once.Do(func() { close(n.closed) })
	if subscribed {
		<-n.done
	}
	return nil
}
