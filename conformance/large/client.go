//go:build linux

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/caddy-realtime/realtime/internal/wsclient"
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
	var from []string
	if t.from != "" {
		from = []string{"X-Forwarded-For: " + t.from}
	}
	if err := wsclient.Open(c.conn, c.in, cmp.Or(t.host, t.addr), "/socket.io/?EIO=4&transport=websocket", from...); err != nil {
		return err
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
	c.out = append(wsclient.AppendHeader(c.out[:0], wsclient.Text, len(packet)), packet...)
	_, err := c.conn.Write(c.out)
	return err
}

// receive returns the next packet, of a long one as much as the buffer holds,
// and answers pings. The packet is good until the next call.
func (c *client) receive() ([]byte, error) {
	for {
		first, p, err := c.frame()
		switch {
		case err != nil:
			return nil, err
		case first == wsclient.Close:
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

func (c *client) frame() (first byte, p []byte, err error) {
	if _, err := c.in.Discard(c.rest); err != nil {
		return 0, nil, err
	}
	c.rest = 0
	first, size, err := wsclient.ReadHeader(c.in)
	if err != nil {
		return 0, nil, err
	}
	p, err = c.in.Peek(min(size, c.in.Size()))
	c.rest = size
	return first, p, err
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
