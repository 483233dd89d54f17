package realtime

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// A testClient is a small Socket.IO client on one of the two transports.
type testClient interface {
	// send sends one Engine.IO packet.
	send(packet string) error
	// receive returns the next one.
	receive() (string, error)
}

// dialers make one client of each transport.
var dialers = map[string]func(t *testing.T, port int) testClient{
	"polling":   func(t *testing.T, port int) testClient { return dialPolling(t, port) },
	"websocket": func(t *testing.T, port int) testClient { return dialWebSocket(t, port, nil) },
}

// joinAll has a client of each transport join the main namespace.
func joinAll(t *testing.T, port int) map[string]testClient {
	t.Helper()
	clients := map[string]testClient{}
	for name, dial := range dialers {
		clients[name] = dial(t, port)
		join(t, clients[name], "")
	}
	return clients
}

// join connects the main namespace. payload is "" or a JSON object.
func join(t *testing.T, c testClient, payload string) {
	t.Helper()
	if err := c.send("40" + payload); err != nil {
		t.Fatal(err)
	}
	expect(t, c, `40{"sid":"`)
}

// expect reads the next packet that is no ping and compares its beginning.
func expect(t *testing.T, c testClient, prefix string) string {
	t.Helper()
	packet, err := next(c)
	if err != nil || !strings.HasPrefix(packet, prefix) {
		t.Fatalf("got %q, %v; want %q", packet, err, prefix)
	}
	return packet
}

// next is the next packet that is no ping; pings are answered.
func next(c testClient) (string, error) {
	for {
		packet, err := c.receive()
		if err != nil || packet != "2" {
			return packet, err
		}
		if err := c.send("3"); err != nil {
			return "", err
		}
	}
}

// call emits an event without arguments and returns what it is acknowledged
// with, a JSON array.
func call(c testClient, event string) (string, error) {
	if err := c.send(fmt.Sprintf(`427[%q]`, event)); err != nil {
		return "", err
	}
	packet, err := next(c)
	if err != nil {
		return "", err
	}
	answer, ok := strings.CutPrefix(packet, "437")
	if !ok {
		return "", fmt.Errorf("got %q instead of an ack", packet)
	}
	return answer, nil
}

// expectAnswer calls event and compares the answer.
func expectAnswer(t *testing.T, c testClient, event, want string) {
	t.Helper()
	if got, err := call(c, event); err != nil || got != want {
		t.Fatalf("%s: got %s, %v; want %s", event, got, err, want)
	}
}

const endpoint = "/socket.io/?EIO=4&transport="

// webSocketClient is a testClient on a WebSocket.
type webSocketClient struct{ conn *websocket.Conn }

func dialWebSocket(t *testing.T, port int, header http.Header) *webSocketClient {
	t.Helper()
	conn, resp, err := dialAgain(fmt.Sprintf("ws://127.0.0.1:%d%swebsocket", port, endpoint), header)
	if err != nil {
		t.Fatalf("dialing: %v, %v", err, resp)
	}
	t.Cleanup(func() { conn.Close() })
	c := &webSocketClient{conn: conn}
	expect(t, c, `0{"sid":"`)
	return c
}

// dialAgain dials until its connection is not one of those that wait for a
// listener just when a reload closes it: the kernel resets them.
func dialAgain(url string, header http.Header) (conn *websocket.Conn, resp *http.Response, err error) {
	for range 10 {
		conn, resp, err = websocket.DefaultDialer.Dial(url, header)
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			break
		}
	}
	return conn, resp, err
}

func (c *webSocketClient) send(packet string) error {
	return c.conn.WriteMessage(websocket.TextMessage, []byte(packet))
}

func (c *webSocketClient) receive() (string, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	_, data, err := c.conn.ReadMessage()
	return string(data), err
}

// pollingClient is a testClient on long polling.
type pollingClient struct {
	http    *http.Client
	url     string
	packets []string // received in the last poll, not read yet
}

func dialPolling(t *testing.T, port int) *pollingClient {
	t.Helper()
	c := &pollingClient{
		// A reload closes idle connections, which a POST may just be taking.
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 40 * time.Second},
		url:  fmt.Sprintf("http://127.0.0.1:%d%spolling", port, endpoint),
	}
	open := expect(t, c, `0{"sid":"`)
	_, sid, _ := strings.Cut(open, `"sid":"`)
	sid, _, _ = strings.Cut(sid, `"`)
	c.url += "&sid=" + sid
	return c
}

func (c *pollingClient) send(packet string) error {
	body, err := c.request(http.MethodPost, packet)
	if err == nil && body != "ok" {
		err = fmt.Errorf("got %q instead of ok", body)
	}
	return err
}

// request returns the body of a good answer. A connection that is in the
// queue of a listener which a reload closes is reset, and one that has just
// been accepted is closed, before anybody reads the request: it is made again.
func (c *pollingClient) request(method, body string) (string, error) {
	for {
		req, err := http.NewRequest(method, c.url, strings.NewReader(body))
		if err != nil {
			return "", err
		}
		resp, err := c.http.Do(req)
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s %q", method, resp.Status, answer)
		}
		return string(answer), err
	}
}

func (c *pollingClient) receive() (string, error) {
	for len(c.packets) == 0 {
		if err := c.poll(); err != nil {
			return "", err
		}
	}
	packet := c.packets[0]
	c.packets = c.packets[1:]
	return packet, nil
}

func (c *pollingClient) poll() error {
	body, err := c.request(http.MethodGet, "")
	if err != nil {
		return err
	}
	if body == "" {
		return errors.New("polling: empty answer")
	}
	c.packets = strings.Split(body, "\x1e")
	return nil
}
