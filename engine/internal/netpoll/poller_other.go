//go:build !linux

package netpoll

// A Poller would wait for input on many sockets with one goroutine. On this
// system it watches none.
type Poller struct{}

// Init makes p ready to use.
func (*Poller) Init(func(run func())) {}

// Watch is false: every connection needs a goroutine that reads.
func (*Poller) Watch(Source) bool { return false }

// Remove forgets a source.
func (*Poller) Remove(Source) {}

// Closed tells that a source's connection was closed by us.
func (*Poller) Closed(Source) {}

// Poll looks for input.
func (*Poller) Poll() {}

// Retire says that no more sources will come.
func (*Poller) Retire() {}
