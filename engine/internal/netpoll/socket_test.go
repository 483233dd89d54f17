package netpoll

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// pair is a connection over TCP, its socket, and the peer.
func pair(t *testing.T) (s *Socket, peer *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		p.Close()
	})
	s = &Socket{}
	s.Init(nc)
	return s, p.(*net.TCPConn)
}

func newTry(t *testing.T) *Try {
	if runtime.GOOS == "windows" {
		t.Skip("sockets cannot be tried")
	}
	try := &Try{}
	try.Init()
	return try
}

func TestTryReadsWhatIsThere(t *testing.T) {
	try := newTry(t)
	s, peer := pair(t)
	if !s.CanTry() || s.Secure() || s.TCP() != s.Conn {
		t.Fatal("not a TCP connection")
	}
	buf := make([]byte, 10)
	if n, err := try.Read(s, buf); n != 0 || err != nil {
		t.Fatalf("%d bytes, %v, before anything came", n, err)
	}
	io.WriteString(peer, "hello")
	for n := 0; n == 0; {
		var err error
		if n, err = try.Read(s, buf); err != nil || n > 0 && string(buf[:n]) != "hello" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	peer.Close()
	for {
		if n, err := try.Read(s, buf); err == io.EOF && n == 0 {
			break
		} else if n > 0 || err != nil {
			t.Fatalf("%d bytes, %v, after the end", n, err)
		}
	}
}

func TestTryWritesWhatIsTaken(t *testing.T) {
	try := newTry(t)
	s, peer := pair(t)
	p := make([]byte, 64<<10)
	sent := 0
	for { // until the buffers are full
		n, err := try.Write(s, p, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if sent += n; n < len(p) {
			break
		}
	}
	got := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, peer)
		got <- n
	}()
	if n, err := s.WriteWithin(p, time.Minute); n != len(p) || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	s.Conn.Close()
	if n := <-got; n != int64(sent+len(p)) {
		t.Errorf("%d bytes arrived of %d", n, sent+len(p))
	}
	if _, err := try.Write(s, p, time.Minute); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestWriteWithinEndsInTime(t *testing.T) {
	s, _ := pair(t)
	p := make([]byte, 1<<20)
	for {
		if _, err := s.WriteWithin(p, 10*time.Millisecond); errors.Is(err, os.ErrDeadlineExceeded) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPipesCannotBeTried(t *testing.T) {
	nc, peer := net.Pipe()
	defer peer.Close()
	var s Socket
	if s.Init(nc); s.CanTry() || s.Secure() || s.TCP() != nil {
		t.Error("a pipe has no socket")
	}
}

// Whatever the order of input and parking, input finds exactly one reader.
func TestInputFindsOneReader(t *testing.T) {
	var s Socket
	for _, step := range []struct {
		what string
		got  bool
		want bool
	}{
		{"input", s.wake(), true},
		{"more while it is read", s.wake(), false},
		{"and more", s.wake(), false},
		{"the reader parks", s.Park(), false},
		{"it has read again", s.Park(), true},
		{"input", s.wake(), true},
		{"the reader parks", s.Park(), true},
	} {
		if step.got != step.want {
			t.Errorf("%s: %v", step.what, step.got)
		}
	}
	var claimed Socket
	if claimed.Claim(); claimed.wake() {
		t.Error("a claimed socket was given to another reader")
	}
}

// secured is a TLS connection on s.
func secured(t *testing.T, s *Socket, peer net.Conn) (server *Socket, client *tls.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Server(s.Conn, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	client = tls.Client(peer, &tls.Config{InsecureSkipVerify: true})
	failed := make(chan error, 1)
	go func() { failed <- client.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	server = &Socket{}
	server.Init(c)
	if !server.Secure() {
		t.Skip("TLS connections are not watched on this system")
	}
	return server, client
}

// recordReader is a Reader that keeps what it reads.
type recordReader struct {
	s     *Socket
	got   []byte
	small int // bytes that one read takes
}

func (r *recordReader) ReadOnce() (goOn, late bool) {
	buf := make([]byte, r.small)
	n, err := r.s.Read(buf)
	r.got = append(r.got, buf[:n]...)
	late = errors.Is(err, os.ErrDeadlineExceeded)
	return err == nil || late, late
}

func (r *recordReader) Enough() bool { return len(r.got) > 20_000 }

func TestBurstReadsAllThatHasArrived(t *testing.T) {
	try := newTry(t)
	plain, peer := pair(t)
	s, client := secured(t, plain, peer)
	want := bytes.Repeat([]byte("record"), 5000)
	r := &recordReader{s: s, small: 100}
	go client.Write(want)
	for len(r.got) < len(want) {
		if !ReadBurst(s, try, r) {
			t.Fatalf("ended after %d bytes", len(r.got))
		}
	}
	if !bytes.Equal(r.got, want) {
		t.Error("not what was sent")
	}
	if try.Arrived(s) {
		t.Error("there is more")
	}
	client.Close()
	for !try.Arrived(s) {
	}
	if ReadBurst(s, try, r) {
		t.Error("the end was not found")
	}
}

func TestTryWritesToTLS(t *testing.T) {
	try := newTry(t)
	plain, peer := pair(t)
	s, client := secured(t, plain, peer)
	p := bytes.Repeat([]byte("x"), 100<<10)
	sent := 0
	for {
		n, err := try.Write(s, p, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if sent += n; n < len(p) {
			break // it takes no more for now, and is not broken
		}
	}
	got := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, client)
		got <- n
	}()
	n, err := s.WriteWithin(p, time.Minute)
	if err != nil {
		t.Error(err)
	}
	s.Conn.Close()
	if arrived := <-got; arrived != int64(sent+n) {
		t.Errorf("%d bytes arrived of %d", arrived, sent+n)
	}
}
