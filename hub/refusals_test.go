package hub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

// logbook keeps the lines of a log.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// refusals are the lines of refusals since the last call, each as the values of
// its keys.
func (l *logbook) refusals(t *testing.T) (lines []map[string]string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for text := range strings.Lines(l.text.String()) {
		var line map[string]string
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if line["msg"] == "refused" {
			delete(line, "time")
			lines = append(lines, line)
		}
	}
	l.text.Reset()
	return lines
}

// Each refusal of an event or a CONNECT has one line at debug level.
func TestRefusalsAreLogged(t *testing.T) {
	p := &script{
		connect: func(c hub.Call) {
			if strings.Contains(string(c.Event().Socket.Handshake()), "banned") {
				c.End(&hub.Refusal{Code: hub.Forbidden, Message: "You are banned", Rule: "Caddyfile:3"})
				return
			}
			c.End(nil)
		},
		event: func(c hub.Call) {
			if c.Event().Name == "panic" {
				panic("boom")
			}
			c.End(&hub.Refusal{Code: hub.Invalid, Message: "no", Cause: errors.New("inside"), Rule: "Caddyfile:7"})
		},
		disconnect: func(c hub.Call) {
			c.End(&hub.Refusal{Code: hub.Forbidden, Message: "Reserved room name", Rule: "Caddyfile:9"})
		},
	}
	log := new(logbook)
	serveConfig(t, hub.Config{
		Logger: log.logger(),
		Namespaces: []hub.NamespaceConfig{
			{Name: "/", Policy: p, Auth: verifier{}, ConnectionsPerUser: 1},
			{Pattern: regexp.MustCompile("/many.*"), Policy: &script{}},
		},
		DynamicNamespaces: 1,
	}, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		expect := func(what string, want map[string]string) {
			t.Helper()
			synctest.Wait()
			lines := log.refusals(t)
			if len(lines) != 1 {
				t.Fatalf("%s: %d lines: %v", what, len(lines), lines)
			}
			line := lines[0]
			for key, value := range map[string]string{"level": "DEBUG", "namespace": "/"} {
				if want[key] == "" {
					want[key] = value
				}
			}
			for key, value := range want {
				if line[key] != value {
					t.Errorf("%s: %s is %q, want %q", what, key, line[key], value)
				}
			}
			if line["remote_ip"] == "" || strings.Contains(fmt.Sprint(line), "secret") {
				t.Errorf("%s: %v", what, line)
			}
		}

		c.Send("40/nope,")
		c.Next()
		expect("unknown namespace", map[string]string{"event": "connect", "code": "INVALID", "reason": "Invalid namespace", "namespace": "/nope"})
		c.Send("40")
		c.Next()
		expect("no token", map[string]string{"event": "connect", "code": "FORBIDDEN", "reason": "Authentication error"})
		c.Send(`40{"token":"bad"}`)
		c.Next()
		expect("bad token", map[string]string{"event": "connect", "code": "FORBIDDEN", "reason": "Invalid token"})
		down := n.WebSocket(wsPath)
		down.Send(`40{"token":"down"}`)
		down.Next()
		expect("no keys", map[string]string{"event": "connect", "code": "UPSTREAM_ERROR", "error": "keys unreachable"})
		c.Send(`40{"token":"ann","x":"banned secret"}`)
		c.Next()
		expect("rule of connect", map[string]string{"event": "connect", "code": "FORBIDDEN", "reason": "You are banned", "rule": "Caddyfile:3", "user_id": "ann"})

		id := c.Join("/", `{"token":"ann"}`)
		known := func(want map[string]string) map[string]string {
			want["user_id"], want["socket_id"] = "ann", id
			return want
		}
		c.Send(`421["say",{"secret":1}]`)
		c.Next()
		expect("rule of an event", known(map[string]string{"event": "say", "code": "INVALID", "reason": "no", "error": "inside", "rule": "Caddyfile:7"}))
		c.Send(`421["panic"]`)
		c.Next()
		expect("panic", known(map[string]string{"event": "panic", "code": "PROCESSING_ERROR"}))
		c.Send(`421["error"]`)
		c.Next()
		expect("reserved name", known(map[string]string{"event": "error", "code": "FORBIDDEN", "reason": "Reserved event name"}))
		c.Send(`421["auth-refresh",{"token":"secret"}]`)
		c.Next()
		expect("refresh", known(map[string]string{"event": "auth-refresh", "code": "FORBIDDEN"}))

		second := n.WebSocket(wsPath)
		second.Send(`40{"token":"ann"}`)
		second.Next()
		expect("too many connections", map[string]string{"event": "connect", "code": "LIMIT", "reason": "Too many connections", "user_id": "ann"})

		c.Send("41")
		expect("rule of disconnect", known(map[string]string{"event": "disconnect", "code": "FORBIDDEN", "reason": "Reserved room name", "rule": "Caddyfile:9"}))

		third := n.WebSocket(wsPath)
		third.Join("/many", "")
		third.Send("40/many2,")
		third.Next()
		expect("too many namespaces", map[string]string{"event": "connect", "code": "LIMIT", "reason": "Too many namespaces", "namespace": "/many2"})
	})
}

// What the limit of CONNECTs refuses is in the log, and a log that does not want
// debug lines gets none.
func TestLimitsAreLogged(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo} {
		log := new(logbook)
		logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: level}))
		conf := hub.Config{Logger: logger, Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &script{}}}}
		conf.Engine.Rates[budget.Events] = budget.Rate{PerSecond: 100, Burst: 200}
		serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
			c := n.WebSocket(wsPath)
			for range 30 {
				c.Send("40/none,")
			}
			synctest.Wait()
			lines := log.refusals(t)
			if level == slog.LevelInfo {
				if len(lines) > 0 {
					t.Errorf("%v", lines)
				}
				return
			}
			if last := lines[len(lines)-1]; last["code"] != "LIMIT" || last["reason"] != "Too many CONNECTs" {
				t.Errorf("%v", last)
			}
		})
	}
}

// listed is a policy that knows its events and codes.
type listed struct {
	script
	events []string
	codes  []hub.Code
}

func (l *listed) Events() []string  { return l.events }
func (l *listed) Codes() []hub.Code { return l.codes }

// What is counted has the names of the configuration, never those of clients.
func TestRefusalsAreCountedByEventAndCode(t *testing.T) {
	refuse := func(c hub.Call) { c.End(&hub.Refusal{Code: "SOLD_OUT", Message: "no"}) }
	p := &listed{script{event: refuse, disconnect: refuse}, []string{"buy"}, []hub.Code{"SOLD_OUT"}}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		want := map[string]uint64{}
		send := func(event, as string) {
			t.Helper()
			c.Send(`420["` + event + `"]`)
			c.Expect(`430[{"error":"no","code":"SOLD_OUT"}]`)
			want[as]++
		}
		send("buy", "buy SOLD_OUT")
		send("made up", "other SOLD_OUT")
		h.Update(hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: &listed{p.script, []string{"sell"}, nil}}}})
		send("buy", "buy SOLD_OUT") // goes on
		send("sell", "sell INVALID")
		c.Send("41")
		synctest.Wait()
		want["disconnect SOLD_OUT"]++
		got := map[string]uint64{}
		for _, r := range h.Stats().Refusals {
			got[r.Event+" "+string(r.Code)] = r.Count
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("counted %v, want %v", got, want)
		}
	})
}
