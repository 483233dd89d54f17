package realtime

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// A tap is on the way between an HTTP/3 client and its server.
type tap struct {
	client *net.UDPConn
	server *net.UDPAddr
}

func newTap(t *testing.T, port int) *tap {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &tap{c, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}}
}

// relay passes datagrams both ways until the client's socket has a deadline.
func (p *tap) relay(t *testing.T) { p.pass(t, true) }

// replay sends what a client says before it got any answer to the server, and
// nothing else ever: what an attacker could do with a recording.
func (p *tap) replay(t *testing.T) { p.pass(t, false) }

func (p *tap) pass(t *testing.T, answers bool) {
	up, err := net.DialUDP("udp", nil, p.server)
	if err != nil {
		t.Error(err)
		return
	}
	defer up.Close()
	buf := make([]byte, 2048)
	for {
		n, from, err := p.client.ReadFromUDP(buf)
		if err != nil {
			return
		}
		if answers {
			answers = false // once is enough
			go func() {
				answer := make([]byte, 2048)
				for {
					n, err := up.Read(answer)
					if err != nil {
						return
					}
					_, _ = p.client.WriteToUDP(answer[:n], from)
				}
			}()
		}
		_, _ = up.Write(buf[:n])
	}
}

// stop ends relay or replay, for the next of them.
func (p *tap) stop(done chan struct{}) {
	_ = p.client.SetReadDeadline(time.Unix(1, 0))
	<-done
	_ = p.client.SetReadDeadline(time.Time{})
}

func (p *tap) start(t *testing.T, how func(*testing.T)) chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		how(t)
	}()
	return done
}

// A handshake in TLS early data, which whoever recorded it can send again,
// opens no session.
func TestReplayedEarlyDataOpensNoSession(t *testing.T) {
	port := freePort(t)
	cert, key := certificate(t)
	access := filepath.Join(t.TempDir(), "access.log")
	mustLoad(t, fmt.Sprintf("{%s log {\n output discard\n }\n}\nhttps://127.0.0.1:%d {\n bind 127.0.0.1\n tls %s %s\n log {\n output file %s\n }\n realtime\n}\n",
		globalOptions, port, cert, key, access))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p := newTap(t, port)
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	ask := func(method, mark string) (*http3.RequestStream, *http3.ClientConn) {
		conn, err := quic.DialAddrEarly(ctx, p.client.LocalAddr().String(), config, nil)
		if err != nil {
			t.Fatal(err)
		}
		client := (&http3.Transport{}).NewClientConn(conn)
		stream, err := client.OpenRequestStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(method, fmt.Sprintf("https://127.0.0.1:%d/socket.io/%s&t=%s", port, handshake, mark), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.SendRequestHeader(req); err != nil {
			t.Fatal(err)
		}
		return stream, client
	}

	done := p.start(t, p.relay)
	stream, client := ask("GET", "first")
	resp, err := stream.ReadResponse()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %+v, %v", resp, err)
	}
	client.CloseWithError(0, "")
	p.stop(done)

	done = p.start(t, p.replay)
	_, client = ask("GET", "replayed")
	settle(t, "the replay", func() bool {
		content, err := os.ReadFile(access)
		return err == nil && strings.Contains(string(content), "replayed")
	})
	client.CloseWithError(0, "")
	p.stop(done)
	for uri, status := range map[string]int{"first": http.StatusOK, "replayed": http.StatusTooEarly} {
		if got := accessLog(t, access)["/socket.io/"+handshake+"&t="+uri]; got != status {
			t.Errorf("%s: got %d, want %d", uri, got, status)
		}
	}
}

// A proxy in front may have taken early data, and says so (RFC 8470).
func TestEarlyDataOfAProxy(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, "realtime")))
	if status, _, _ := get(t, port, "/socket.io/"+handshake, "Early-Data", "1"); status != http.StatusTooEarly {
		t.Errorf("got %d", status)
	}
	req, err := http.NewRequest("POST", fmt.Sprintf("http://127.0.0.1:%d/socket.io/%s&sid=x", port, handshake), strings.NewReader("40"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Early-Data", "1")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusTooEarly {
		t.Errorf("got %d, %v", resp.StatusCode, err)
	}
}
