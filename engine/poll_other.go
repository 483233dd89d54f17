//go:build !linux

package engine

import (
	"errors"
	"net"
	"syscall"
)

// A poller would wait for input on many connections with one goroutine. Here
// every connection has one that reads.
type poller struct{}

func (p *poller) init(*Server)       {}
func (p *poller) watch(c *conn) bool { return false }
func (p *poller) resume(c *conn)     {}
func (p *poller) remove(c *conn)     {}
func (p *poller) retire()            {}
func (p *poller) closed(c *conn)     {}

// securedBy would return the socket below a TLS connection.
func securedBy(net.Conn) syscall.RawConn { return nil }

func (a *attempt) writeSecure(*conn, []byte) (int, error) { return 0, errors.ErrUnsupported }

func (*poller) look() {}
