//go:build linux

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// target is where clients connect to, and how.
type target struct {
	addr   string
	host   string      // of the site; empty: addr
	tls    *tls.Config // nil: plain TCP
	from   string      // X-Forwarded-For; empty: none
	buffer int         // of what is read, bytes; 0: 4096
	narrow bool        // with room for few bytes on the way: it is felt soon when it does not read
}

// client is one Socket.IO client on a WebSocket of its own. One goroutine may
// receive while others send.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	rest int // bytes of the last packet that are to be skipped

	writing sync.Mutex
	out     []byte // guarded by writing
}

// refusal is an answer that is no WebSocket.
type refusal struct{ status string }

func (r refusal) Error() string { return "refused: " + r.status }

// connectTimeout is the stock client's.
const connectTimeout = 20 * time.Second

// open connects to the main namespace.
func (t target) open(ctx context.Context) (*client, error) {
	c, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.enter(); err != nil {
		c.reset()
		return nil, err
	}
	return c, nil
}

func (c *client) enter() error {
	if err := c.conn.SetDeadline(time.Now().Add(connectTimeout)); err != nil {
		return err
	}
	if _, err := c.await("0"); err != nil {
		return err
	}
	if _, err := c.ask("40", "40"); err != nil {
		return err
	}
	return c.conn.SetDeadline(time.Time{})
}

// connect opens a connection that nothing was said on yet.
func (t target) connect(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: connectTimeout, KeepAlive: -1}
	if t.narrow {
		d.Control = narrow
	}
	conn, err := d.DialContext(ctx, "tcp", t.addr)
	if err != nil || t.tls == nil {
		return conn, err
	}
	return tls.Client(conn, t.tls), nil
}

// dial opens a WebSocket.
func (t target) dial(ctx context.Context) (*client, error) {
	conn, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, in: bufio.NewReaderSize(conn, cmp.Or(t.buffer, 4096))}
	if err := c.upgrade(t); err != nil {
		c.reset()
		return nil, err
	}
	return c, nil
}

// narrow leaves room for few bytes in the kernel.
func narrow(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = errors.Join(
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536))
	})
	return errors.Join(err, failed)
}

func (c *client) upgrade(t target) error {
	if err := c.conn.SetDeadline(time.Now().Add(connectTimeout)); err != nil {
		return err
	}
	host, from := cmp.Or(t.host, t.addr), ""
	if t.from != "" {
		from = "X-Forwarded-For: " + t.from + "\r\n"
	}
	_, err := fmt.Fprintf(c.conn, "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: %s\r\n%s"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", host, from)
	if err != nil {
		return err
	}
	line, err := c.in.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "HTTP/1.1 101 ") {
		return refusal{strings.TrimSpace(line)}
	}
	for len(strings.TrimSpace(line)) > 0 {
		if line, err = c.in.ReadString('\n'); err != nil {
			return err
		}
	}
	return c.conn.SetDeadline(time.Time{})
}

// reset closes the connection so that its port can be used again at once.
func (c *client) reset() {
	conn := c.conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it is gone already if this fails
	}
	_ = conn.Close()
}

// send sends one Engine.IO packet.
func (c *client) send(packet string) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out = appendFrame(c.out[:0], opText, len(packet))
	c.out = append(c.out, packet...)
	_, err := c.conn.Write(c.out)
	return err
}

const (
	opText   = 1
	opBinary = 2
	opClose  = 8
)

// appendFrame appends the header of a masked frame, whose mask is zero.
func appendFrame(p []byte, op byte, size int) []byte {
	switch {
	case size < 126:
		p = append(p, 0x80|op, 0x80|byte(size))
	case size < 1<<16:
		p = binary.BigEndian.AppendUint16(append(p, 0x80|op, 0x80|126), uint16(size))
	default:
		p = binary.BigEndian.AppendUint64(append(p, 0x80|op, 0x80|127), uint64(size))
	}
	return append(p, 0, 0, 0, 0)
}

// receive returns the next packet, of a long one as much as the buffer holds,
// and answers pings. The packet is good until the next call.
func (c *client) receive() ([]byte, error) {
	for {
		op, p, err := c.frame()
		switch {
		case err != nil:
			return nil, err
		case op == opClose:
			return nil, io.EOF
		case len(p) == 1 && p[0] == '2':
			if err := c.send("3"); err != nil {
				return nil, err
			}
		default:
			return p, nil
		}
	}
}

func (c *client) frame() (op byte, p []byte, err error) {
	if _, err := c.in.Discard(c.rest); err != nil {
		return 0, nil, err
	}
	c.rest = 0
	h, err := c.in.Peek(2)
	if err != nil {
		return 0, nil, err
	}
	op, length, size := h[0]&15, 2, int(h[1]&127)
	if size >= 126 {
		length = 4 + (size-126)*6
		if h, err = c.in.Peek(length); err != nil {
			return 0, nil, err
		}
		size = 0
		for _, b := range h[2:] {
			size = size<<8 | int(b)
		}
	}
	if _, err := c.in.Discard(length); err != nil {
		return 0, nil, err
	}
	p, err = c.in.Peek(min(size, c.in.Size()))
	c.rest = size
	return op, p, err
}

// await receives until a packet has the prefix.
func (c *client) await(prefix string) ([]byte, error) {
	for {
		p, err := c.receive()
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(p, []byte(prefix)) {
			return p, nil
		}
		if bytes.HasPrefix(p, []byte("44")) {
			return nil, fmt.Errorf("refused: %s", p)
		}
	}
}

// ask sends a packet and awaits the answer.
func (c *client) ask(packet, answer string) ([]byte, error) {
	if err := c.send(packet); err != nil {
		return nil, err
	}
	return c.await(answer)
}
