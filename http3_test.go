package realtime

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
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

// streamClient is a testClient on a WebSocket over one HTTP/3 stream
// (RFC 9220), which is what some browsers use when a site offers HTTP/3.
type streamClient struct{ stream *http3.RequestStream }

func dialHTTP3(t *testing.T, port int) *streamClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	address := fmt.Sprintf("127.0.0.1:%d", port)
	conn, err := quic.DialAddr(ctx, address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := (&http3.Transport{}).NewClientConn(conn)
	t.Cleanup(func() { client.CloseWithError(0, "") })
	stream, err := client.OpenRequestStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodConnect, "https://"+address+endpoint+"websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Proto = "websocket"
	req.Header.Set("Sec-WebSocket-Version", "13")
	if err := stream.SendRequestHeader(req); err != nil {
		t.Fatal(err)
	}
	resp, err := stream.ReadResponse()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %v, %v", resp, err)
	}
	c := &streamClient{stream}
	expect(t, c, `0{"sid":"`)
	return c
}

// send writes a text frame of less than 126 bytes, masked with zeros.
func (c *streamClient) send(packet string) error {
	_, err := c.stream.Write(append([]byte{0x81, 0x80 | byte(len(packet)), 0, 0, 0, 0}, packet...))
	return err
}

// receive reads a text frame of less than 64 KiB.
func (c *streamClient) receive() (string, error) {
	if err := c.stream.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(c.stream, head); err != nil {
		return "", err
	}
	n := int(head[1])
	if n == 126 {
		if _, err := io.ReadFull(c.stream, head); err != nil {
			return "", err
		}
		n = int(head[0])<<8 | int(head[1])
	}
	body := make([]byte, n)
	_, err := io.ReadFull(c.stream, body)
	return string(body), err
}

// certificate writes a self-signed one and its key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert},
		keyFile:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// A silent client outlasts the server's idle limit of request bodies, and a
// reload.
func TestHTTP3OutlastsIdleLimitAndReload(t *testing.T) {
	port := freePort(t)
	cert, key := certificate(t)
	config := func(v int) string {
		block := strings.Replace(versioned(v), "{", "{\n ping 1500ms 5s\n", 1)
		return fmt.Sprintf("{%s log {\n output discard\n }\n servers {\n timeouts {\n read_body_idle 500ms\n }\n }\n}\n"+
			"https://127.0.0.1:%d {\n bind 127.0.0.1\n tls %s %s\n %s\n}\n", globalOptions, port, cert, key, block)
	}
	mustLoad(t, config(1))
	c := dialHTTP3(t, port)
	join(t, c, "")
	if packet, err := c.receive(); err != nil || packet != "2" {
		t.Fatalf("got %q, %v; want a ping after three times the idle limit", packet, err)
	}
	if err := c.send("3"); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, config(2))
	expectAnswer(t, c, "version", "[2]")
}
