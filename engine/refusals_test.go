package engine_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
)

// refusing is a server and what it logs.
type refusing struct {
	t      *testing.T
	server *engine.Server
	log    bytes.Buffer
}

func newRefusing(t *testing.T, level slog.Level, c engine.Config) *refusing {
	r := &refusing{t: t}
	c.Logger = slog.New(slog.NewJSONHandler(&r.log, &slog.HandlerOptions{Level: level}))
	r.server = engine.NewServer(deafHandler{}, c)
	t.Cleanup(r.server.Close)
	return r
}

// deafHandler lets sessions open and does nothing.
type deafHandler struct{}

func (deafHandler) Open(*engine.Session) engine.Receiver { return deaf{} }

type deaf struct{}

func (deaf) Message(*engine.Batch, []byte, bool) {}
func (deaf) Closed(*engine.Batch, engine.Reason) {}

// get returns the status of a request and the lines that it left in the log.
func (r *refusing) get(target string, header map[string]string) (status int, lines []map[string]string) {
	r.t.Helper()
	q := httptest.NewRequest("GET", target, nil)
	q.Host = "localhost:8080"
	for k, v := range header {
		q.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	r.server.Serve(w, q, engine.Info{RemoteIP: "192.0.2.1"})
	for text := range strings.Lines(r.log.String()) {
		var line map[string]string
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			r.t.Fatal(err, text)
		}
		lines = append(lines, line)
	}
	r.log.Reset()
	return w.Code, lines
}

const pollPath = "/socket.io/?EIO=4&transport=polling"

func TestRefusedRequestsAreLogged(t *testing.T) {
	r := newRefusing(t, slog.LevelDebug, engine.Config{ConnectRate: budget.Rate{PerSecond: 0.001, Burst: 1}})
	for _, tc := range []struct {
		target, event, code, reason string
	}{
		{"/socket.io/?EIO=4&transport=pigeon", "handshake", "malformed", "Transport unknown"},
		{"/socket.io/?EIO=3&transport=polling", "handshake", "malformed", "Unsupported protocol version"},
		{pollPath + "&sid=x", "request", "malformed", "Session ID unknown"},
		{"/socket.io/?EIO=4&transport=websocket", "handshake", "malformed", "Bad request"},
		{pollPath, "", "", ""},
		{pollPath, "handshake", "limited", "connect_rate"},
	} {
		status, lines := r.get(tc.target, nil)
		switch {
		case tc.event == "":
			if status != http.StatusOK || len(lines) != 0 {
				t.Errorf("%s: %d %v", tc.target, status, lines)
			}
			continue
		case len(lines) != 1:
			t.Errorf("%s: %d lines: %v", tc.target, len(lines), lines)
			continue
		}
		line := lines[0]
		if line["level"] != "DEBUG" || line["event"] != tc.event || line["code"] != tc.code || line["reason"] != tc.reason || line["remote_ip"] != "192.0.2.1" {
			t.Errorf("%s: %v", tc.target, line)
		}
	}
}

// A page of another origin is a warning that says what helps.
func TestRefusedOriginsAreWarnings(t *testing.T) {
	for _, tc := range []struct{ name, origin, fetchSite, remedy string }{
		{"another site", "https://app.example.com", "", "if it may connect, add https://app.example.com to the option origins of realtime"},
		{"a path is left out", "https://app.example.com/?token=secret", "", "add https://app.example.com to the option origins"},
		{"a development server on another port", "http://localhost:5173", "same-site", "add http://localhost:5173 to the option origins of realtime; if a development server"},
		{"changeOrigin, as a browser tells it", "http://localhost:5173", "same-origin", "so a proxy in front changes the header Host: have it keep Host (with Vite's server.proxy, remove changeOrigin), or add http://localhost:5173"},
		{"changeOrigin, without that", "http://127.0.0.1:5173", "", "remove changeOrigin"},
		{"TLS ends in front", "https://localhost:8080", "same-origin", "name it in trusted_proxies"},
		{"a file", "null", "", "local file"},
		{"malformed", "http://user:secret@example.com", "", "not of the form"},
	} {
		r := newRefusing(t, slog.LevelInfo, engine.Config{})
		header := map[string]string{"Origin": tc.origin, "Sec-Fetch-Site": tc.fetchSite}
		status, lines := r.get(pollPath, header)
		if status != http.StatusForbidden || len(lines) != 1 || lines[0]["level"] != "WARN" || !strings.Contains(lines[0]["msg"], tc.remedy) ||
			lines[0]["host"] != "localhost:8080" || lines[0]["remote_ip"] != "192.0.2.1" {
			t.Errorf("%s: %d %v", tc.name, status, lines)
		}
		if strings.Contains(fmt.Sprint(lines), "secret") {
			t.Errorf("%s: %v", tc.name, lines)
		}
		if _, lines := r.get(pollPath, header); len(lines) != 0 {
			t.Errorf("%s, again: %v", tc.name, lines)
		}
		if _, lines := r.get(pollPath+"&sid=x", map[string]string{"Origin": "https://third.example"}); len(lines) != 1 {
			t.Errorf("%s, then a third site's request of a session: %v", tc.name, lines)
		}
	}
	r := newRefusing(t, slog.LevelInfo, engine.Config{})
	if status, lines := r.get(pollPath, map[string]string{"Sec-Fetch-Site": "cross-site"}); status != http.StatusForbidden || len(lines) != 0 {
		t.Errorf("an image: %d %v", status, lines)
	}
}

// Many origins fill neither the log nor the memory.
func TestManyOriginsAreFewWarnings(t *testing.T) {
	r := newRefusing(t, slog.LevelInfo, engine.Config{})
	warnings := 0
	for i := range 1000 {
		_, lines := r.get(pollPath, map[string]string{"Origin": fmt.Sprintf("https://%d.example", i)})
		warnings += len(lines)
	}
	if warnings == 0 || warnings > 50 {
		t.Errorf("%d warnings", warnings)
	}
	if _, lines := r.get(pollPath, map[string]string{"Origin": "https://" + strings.Repeat("a", 100_000)}); len(fmt.Sprint(lines)) > 1000 {
		t.Errorf("a long origin: %d bytes", len(fmt.Sprint(lines)))
	}
}
