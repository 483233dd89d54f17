//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/gorilla/websocket"
)

const endpoint = "/socket.io/?EIO=4&transport="

// bytesRead is what came over all connections, beneath TLS.
var bytesRead atomic.Int64

type counted struct{ net.Conn }

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	bytesRead.Add(int64(n))
	return n, err
}

func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return counted{c}, nil
}

// dialNarrow connects with room for few bytes on the way, so that a reader
// that stopped is felt by the server in the first seconds.
func dialNarrow(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = errors.Join(
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096),
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536))
		})
		return errors.Join(err, failed)
	}}
	return d.DialContext(ctx, network, addr)
}

// The certificate is made for the measurement.
var insecure = &tls.Config{InsecureSkipVerify: true}

func (r *room) dial(stopped bool) (transport, error) {
	if r.transport == "polling" {
		return newPolling(r.url)
	}
	d := websocket.Dialer{NetDialContext: dial, TLSClientConfig: insecure, EnableCompression: r.compress}
	if stopped {
		d.NetDialContext = dialNarrow
	}
	c, _, err := d.Dial("ws"+strings.TrimPrefix(r.url, "http")+endpoint+"websocket", nil)
	if err != nil {
		return nil, err
	}
	return &webSocket{conn: c}, nil
}

type webSocket struct {
	conn *websocket.Conn
	buf  bytes.Buffer // owned by the reader

	writing sync.Mutex
}

func (w *webSocket) send(packet string) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	return w.conn.WriteMessage(websocket.TextMessage, []byte(packet))
}

func (w *webSocket) receive(f func([]byte)) error {
	_, r, err := w.conn.NextReader()
	if err != nil {
		return err
	}
	w.buf.Reset()
	if _, err := w.buf.ReadFrom(r); err != nil {
		return err
	}
	f(w.buf.Bytes())
	return nil
}

// polling is a session of requests over connections of its own, two as a
// browser would have: one waits, one sends.
type polling struct {
	client http.Client
	url    string
}

func newPolling(url string) (*polling, error) {
	p := &polling{url: url + endpoint + "polling"}
	p.client.Transport = &http.Transport{DialContext: dial, TLSClientConfig: insecure}
	return p, nil
}

func (p *polling) send(packet string) error {
	_, err := p.answer(p.client.Post(p.url, "text/plain;charset=UTF-8", strings.NewReader(packet)))
	return err
}

func (p *polling) receive(f func([]byte)) error {
	body, err := p.answer(p.client.Get(p.url))
	if err != nil {
		return err
	}
	if rest, ok := bytes.CutPrefix(body, []byte(`0{"sid":"`)); ok {
		sid, _, _ := bytes.Cut(rest, []byte(`"`))
		p.url += "&sid=" + string(sid)
	}
	for packet := range bytes.SplitSeq(body, []byte{0x1e}) {
		f(packet)
	}
	return nil
}

func (p *polling) answer(resp *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || len(body) == 0) {
		err = fmt.Errorf("%s: %q", resp.Status, body)
	}
	return body, err
}
