//go:build !linux

package engine

// A poller would wait for input on many connections with one goroutine. Here
// every connection has one that reads.
type poller struct{}

func (p *poller) init(*Server)     {}
func (p *poller) add(c *conn) bool { return false }
func (p *poller) remove(c *conn)   {}
func (p *poller) closed(c *conn)   {}
