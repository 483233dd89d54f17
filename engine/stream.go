package engine

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A stream is a WebSocket over one stream of HTTP/2 or 3 as a net.Conn. It
// lives as long as ServeHTTP does not return.
type stream struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	r    *http.Request
	once sync.Once
	done chan struct{}

	writing sync.Mutex // held while w is used
	closed  bool       // ServeHTTP may have returned: w is not to be used; guarded by writing
}

// extendedConnect is the protocol that r asks for with extended CONNECT, ""
// for a CONNECT of the old kind.
func extendedConnect(r *http.Request) string {
	if p := r.Header.Get(":protocol"); p != "" { // net/http2
		return p
	}
	if r.ProtoMajor >= 3 && !strings.HasPrefix(r.Proto, "HTTP/") { // quic-go
		return r.Proto
	}
	return ""
}

func newStream(w http.ResponseWriter, r *http.Request) *stream {
	return &stream{w: w, rc: http.NewResponseController(w), r: r, done: make(chan struct{})}
}

// request is r as gorilla knows it: an upgrade over HTTP/1.
func (h *hijacker) request() *http.Request {
	if h.r.Method != http.MethodConnect {
		return h.r
	}
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails
	r := h.r.Clone(h.r.Context())
	r.Method = http.MethodGet
	delete(r.Header, ":protocol")
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(key[:]))
	return r
}

// answer turns the head of an HTTP/1 answer into that of the stream.
func (s *stream) answer(head []byte) {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, ok := strings.Cut(string(line), ": ")
		switch strings.ToLower(name) {
		case "sec-websocket-protocol", "sec-websocket-extensions":
			if ok {
				s.w.Header().Set(name, value)
			}
		}
	}
	// It may wait for the client, and holds one of the places of handshakes.
	// What fails here fails at the first write too.
	_ = s.rc.SetWriteDeadline(time.Now().Add(closeWriteTimeout))
	s.w.WriteHeader(http.StatusOK)
	_ = s.rc.Flush()
	_ = s.rc.SetWriteDeadline(time.Time{})
}

func (s *stream) Read(p []byte) (int, error) { return s.r.Body.Read(p) }

func (s *stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	n, err := s.w.Write(p)
	if err == nil {
		err = s.rc.Flush()
	}
	return n, err
}

// Close ends the stream: wait returns, and ServeHTTP with it.
func (s *stream) Close() error {
	s.once.Do(func() { close(s.done) })
	// Wakes the reader.
	return s.r.Body.Close()
}

// wait blocks until the stream is closed and nobody writes.
func (s *stream) wait() {
	select {
	case <-s.done:
	case <-s.r.Context().Done():
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.closed = true
}

func (s *stream) LocalAddr() net.Addr  { return streamAddr{} }
func (s *stream) RemoteAddr() net.Addr { return streamAddr{} }

type streamAddr struct{}

func (streamAddr) Network() string { return "stream" }
func (streamAddr) String() string  { return "stream" }

func (s *stream) SetDeadline(time.Time) error     { return nil }
func (s *stream) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is for the one who writes.
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return s.rc.SetWriteDeadline(t)
}
