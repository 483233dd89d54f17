//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-realtime/realtime/internal/wsclient"
)

// conn is one WebSocket (RFC 6455). What it reads lies in the crowd's buffer;
// it keeps only the beginning of a frame whose rest has not come yet.
type conn struct {
	crowd  *crowd
	fd     int
	room   int
	joined bool
	asked  int    // requests so far
	begun  []byte // of a frame
	unsent []byte // what the kernel has not taken yet
}

const (
	opText   = 1
	opClose  = 8
	opPing   = 9
	length16 = 126
	length64 = 127
)

// open connects and upgrades one more connection, and greets the server.
func (c *crowd) open() (*conn, error) {
	fd, rest, err := c.dial(len(c.conns))
	if err != nil {
		return nil, err
	}
	conn := &conn{crowd: c, fd: fd, room: len(c.conns) % c.rooms, begun: rest}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return nil, fmt.Errorf("adding to epoll: %w", err)
	}
	c.conns, c.byFD[int32(fd)] = append(c.conns, conn), conn
	if greeting := c.protocol.greeting(conn); greeting != nil {
		conn.send(greeting)
	}
	if len(rest) > 0 && !conn.take(rest) {
		return nil, errors.New("the server ended the connection")
	}
	return conn, nil
}

// dial returns a connection after its upgrade and what came after that.
func (c *crowd) dial(i int) (fd int, rest []byte, err error) {
	const (
		each    = 20_000 // connections from one address, which has 28,000 ports
		patient = 10 * time.Second
	)
	d := net.Dialer{Timeout: patient}
	if i >= each {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, byte(i/each), 1)}
	}
	tcp, err := d.Dial("tcp", c.addr)
	if err != nil {
		return 0, nil, err
	}
	defer tcp.Close()
	tcp.SetDeadline(time.Now().Add(patient))
	if rest, err = upgrade(tcp, c.addr, c.protocol.path()); err != nil {
		return 0, nil, fmt.Errorf("upgrading: %w", err)
	}
	file, err := tcp.(*net.TCPConn).File() // a duplicate
	if err != nil {
		return 0, nil, err
	}
	defer file.Close()
	if fd, err = unix.Dup(int(file.Fd())); err != nil {
		return 0, nil, fmt.Errorf("duplicating: %w", err)
	}
	return fd, rest, unix.SetNonblock(fd, true)
}

func upgrade(tcp net.Conn, host, path string) (rest []byte, err error) {
	r := bufio.NewReader(tcp)
	if err := wsclient.Open(tcp, r, host, path); err != nil {
		return nil, err
	}
	return r.Peek(r.Buffered())
}

// read takes what has come, through buf; false if the connection has ended.
func (c *conn) read(buf []byte) bool {
	c.flush()
	n, err := unix.Read(c.fd, buf[copy(buf, c.begun):])
	if n <= 0 {
		return err == unix.EAGAIN
	}
	return c.take(buf[:len(c.begun)+n])
}

// take handles the whole frames in data and keeps what is left.
func (c *conn) take(data []byte) bool {
	for {
		op, payload, rest, ok := cutFrame(data)
		if !ok {
			c.begun = append(c.begun[:0], data...)
			return true
		}
		switch data = rest; op {
		case opText:
			c.crowd.protocol.receive(c, payload)
		case opPing:
			c.frame(wsclient.Pong, payload)
		case opClose:
			return false
		}
	}
}

// cutFrame cuts the first frame, which has no mask and is whole, off data.
func cutFrame(data []byte) (op byte, payload, rest []byte, ok bool) {
	if len(data) < 2 {
		return 0, nil, nil, false
	}
	head, size := 2, uint64(data[1])
	switch size {
	case length16:
		head = 4
	case length64:
		head = 10
	}
	if len(data) < head {
		return 0, nil, nil, false
	}
	switch size {
	case length16:
		size = uint64(binary.BigEndian.Uint16(data[2:]))
	case length64:
		size = binary.BigEndian.Uint64(data[2:])
	}
	if uint64(len(data)-head) < size {
		return 0, nil, nil, false
	}
	end := head + int(size)
	return data[0] & 0x0f, data[head:end], data[end:], true
}

func (c *conn) send(message []byte) { c.frame(wsclient.Text, message) }

// frame sends a frame whose mask is zero: the payload is as it is.
func (c *conn) frame(first byte, payload []byte) {
	c.unsent = append(wsclient.AppendHeader(c.unsent, first, len(payload)), payload...)
	c.flush()
}

// flush writes what the kernel takes. The rest goes with the next input: a
// server that reads nothing sends nothing either, which shows as a result.
func (c *conn) flush() {
	for len(c.unsent) > 0 {
		n, err := unix.Write(c.fd, c.unsent)
		if err != nil {
			return
		}
		c.unsent = c.unsent[n:]
	}
	c.unsent = nil
}

func (c *conn) close() { unix.Close(c.fd) }

// hasJoined notes that the connection is in its room.
func (c *conn) hasJoined() {
	if !c.joined {
		c.joined = true
		c.crowd.joined++
	}
}
