// Package netpoll reads and writes many connections with few goroutines: it waits
// for the input of all of them at once, and does the system calls that need no
// waiting. It knows nothing of sessions and of what the bytes mean.
//
// It starts no goroutines itself: its user does, and guards them.
package netpoll

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// A Socket is a connection with what there is to know of the socket below it. It
// must not be copied.
type Socket struct {
	net.Conn
	raw     syscall.RawConn // nil: reads and writes cannot be tried
	secure  bool            // raw carries TLS records
	watched bool            // guarded by the Poller's mu, as fd is
	fd      int32

	reading atomic.Uint32 // a readState
	ended   atomic.Bool   // the peer sends no more
}

// Init makes s the socket of a connection, once.
func (s *Socket) Init(nc net.Conn) {
	s.Conn, s.raw = nc, rawConn(nc)
	if s.raw == nil {
		s.raw = rawBelowTLS(nc)
		s.secure = s.raw != nil
	}
}

// CanTry reports whether writes by a Try do not wait.
func (s *Socket) CanTry() bool { return s.raw != nil }

// Secure reports whether it is a TLS connection that a Poller may watch: it is
// read by ReadBurst.
func (s *Socket) Secure() bool { return s.secure }

// Ended reports whether the peer is known to send no more: the next reads find
// the rest and then the end, of which the Poller may not tell again.
func (s *Socket) Ended() bool { return s.ended.Load() }

// TCP is the TCP connection below, nil if there is none.
func (s *Socket) TCP() *net.TCPConn {
	nc := s.Conn
	if c, ok := nc.(*tls.Conn); ok {
		nc = c.NetConn()
	}
	tcp, _ := nc.(*net.TCPConn)
	return tcp
}

// WriteWithin writes all of p and waits at most timeout for that.
func (s *Socket) WriteWithin(p []byte, timeout time.Duration) (int, error) {
	if err := s.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	n, err := s.Write(p)
	if err == nil {
		// A Try must not find a deadline that has passed. This fails only on
		// a connection that is gone, which the next read tells.
		_ = s.SetWriteDeadline(time.Time{})
	}
	return n, err
}

// readState says whether a watched socket has a reader.
type readState = uint32

const (
	parked  readState = iota // it has none: there is no input
	claimed                  // a reader does, or will
	missed                   // the same, and more input has come since
)

// Claim makes the caller responsible for reading the socket. It is for sockets
// that are not watched yet, since input was read already.
func (s *Socket) Claim() { s.reading.Store(claimed) }

// wake notes that there is input, and reports whether a reader must be found.
func (s *Socket) wake() bool {
	for {
		state := s.reading.Load()
		if state == parked && s.reading.CompareAndSwap(parked, claimed) {
			return true
		}
		if state == missed || state == claimed && s.reading.CompareAndSwap(claimed, missed) {
			return false
		}
	}
}

// Park ends a reader's turn. It is false if input has come since the turn began:
// then the socket must be read again.
func (s *Socket) Park() bool {
	if s.reading.CompareAndSwap(claimed, parked) {
		return true
	}
	s.reading.Store(claimed)
	return false
}

// A Source is what a Poller watches.
type Source interface {
	// Polled is the socket, always the same.
	Polled() *Socket
	// Ready is called when there is input and no reader: it must find one. It is
	// called with the Poller's lock held, so it must neither block nor call the
	// Poller.
	Ready()
}
