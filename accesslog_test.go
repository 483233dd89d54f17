package realtime

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// sessionLine is a session's line in an access log.
type sessionLine struct {
	Level, Logger, Msg string
	Request            accessRequest
	Duration           float64
	Status             int
	SocketID           string `json:"socket_id"`
	UserID             string `json:"user_id"`
	Reason             string
}

// sessionLines reads those of a log.
func sessionLines(t *testing.T, path string) []sessionLine {
	t.Helper()
	return accessLines(t, path, "handled session")
}

// accessLines reads the lines of a log that say msg.
func accessLines(t *testing.T, path, msg string) (lines []sessionLine) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(string(content)) {
		var line sessionLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if line.Msg == msg {
			lines = append(lines, line)
		}
	}
	return lines
}

// awaitSessionLine returns when there is one: a client may see the end of its
// connection before that is written down.
func awaitSessionLine(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(sessionLines(t, path)) == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("no line in %s", path)
		}
	}
}

// Each session has one line, when it ends, where the access log of its site
// goes by then.
func TestSessionHasOneLineInTheAccessLog(t *testing.T) {
	for name, status := range map[string]int{"polling": 200, "websocket": 101} {
		t.Run(name, func(t *testing.T) {
			dir, port := t.TempDir(), freePort(t)
			path := func(log string) string { return filepath.Join(dir, log) }
			config := func(log, block string) string {
				return fmt.Sprintf("{%s log {\n output file %s\n level DEBUG\n }\n}\n", globalOptions, path("process")) +
					site(port, "log {\n output file "+path(log)+"\n}\n"+block)
			}
			hub := "realtime {\n hub lines\n on go {\n disconnect true\n }\n}"
			mustLoad(t, config("first", hub))
			leave := func(c testClient) {
				t.Helper()
				if err := c.send(`42["go"]`); err != nil {
					t.Fatal(err)
				}
				for err := error(nil); err == nil; {
					_, err = next(c)
				}
			}
			a, b, c := dialers[name](t, port), dialers[name](t, port), dialers[name](t, port)
			for _, c := range []testClient{a, b, c} {
				join(t, c, "")
			}
			leave(a)
			awaitSessionLine(t, path("first"))
			mustLoad(t, config("second", hub))
			leave(b)
			awaitSessionLine(t, path("second"))
			mustLoad(t, config("third", strings.Replace(hub, "lines", "other", 1))) // c's hub is gone
			if err := caddy.Stop(); err != nil {
				t.Fatal(err)
			}

			seen := map[string]bool{}
			for _, log := range []string{"first", "second", "third"} {
				lines := sessionLines(t, path(log))
				if len(lines) != 1 {
					t.Fatalf("%s: got %+v", log, lines)
				}
				line := lines[0]
				want := accessRequest{RemoteIP: "127.0.0.1", ClientIP: "127.0.0.1", Proto: "HTTP/1.1", Method: "GET", Host: fmt.Sprint("127.0.0.1:", port), URI: "/socket.io/"}
				if line.Request != want || line.Level != "info" || line.Logger != "http.log.access.log0" || line.Status != status ||
					line.Reason == "" || line.Duration <= 0 || !strings.HasPrefix(line.SocketID, "s_") || seen[line.SocketID] {
					t.Errorf("%s: got %+v", log, line)
				}
				seen[line.SocketID] = true
			}
			if n := len(sessionLines(t, path("process"))); n != 0 {
				t.Errorf("%d lines in Caddy's own log", n)
			}
		})
	}
}

// A handshake with a token that is refused has its line, without the token.
func TestRefusedHandshakeHasItsLine(t *testing.T) {
	path, port := filepath.Join(t.TempDir(), "access"), freePort(t)
	mustLoad(t, quiet(site(port, "log {\n output file "+path+"\n}\nrealtime {\n transports websocket\n auth jwt {\n secret "+testSecret+"\n from query.token\n }\n}")))
	get := func(query string) {
		t.Helper()
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/socket.io/?EIO=4&transport=polling&%s", port, query))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Fatalf("got %s", res.Status)
		}
	}
	get("token=mine")
	get("t=plain")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	lines := accessLines(t, path, "handled request")
	if len(lines) != 2 || lines[0].Status != 400 || lines[0].Request.URI != "/socket.io/" || !strings.Contains(lines[1].Request.URI, "plain") {
		t.Errorf("got %+v", lines)
	}
}

func TestAccessLoggersAreThoseOfTheHost(t *testing.T) {
	all := &caddyhttp.ServerLogConfig{}
	some := &caddyhttp.ServerLogConfig{
		DefaultLoggerName: "rest",
		LoggerNames:       map[string]caddyhttp.StringArray{"a.example.com": {"a", "b"}, "*.example.com": {"any"}, "quiet.example.com": {}},
		SkipHosts:         []string{"skipped.org", "*.skipped.org"},
	}
	mapped := &caddyhttp.ServerLogConfig{LoggerNames: map[string]caddyhttp.StringArray{"a.example.com": {"a"}}, SkipUnmappedHosts: true}
	for _, tc := range []struct {
		logs *caddyhttp.ServerLogConfig
		host string
		want string
	}{
		{nil, "a.example.com", "[]"},
		{all, "a.example.com", `[""]`},
		{some, "A.Example.com:8443", `["a" "b"]`},
		{some, "c.example.com", `["any"]`},
		{some, "quiet.example.com", "[]"},
		{some, "example.org", `["rest"]`},
		{some, "skipped.org", "[]"},
		{some, "www.skipped.org", "[]"},
		{mapped, "a.example.com", `["a"]`},
		{mapped, "b.example.com", "[]"},
	} {
		r := requestTo(&caddyhttp.Server{Logs: tc.logs}, tc.host)
		if got := fmt.Sprintf("%q", accessLoggers(r)); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.host, got, tc.want)
		}
	}
	r := requestTo(&caddyhttp.Server{Logs: all}, "a.example.com")
	caddyhttp.SetVar(r.Context(), caddyhttp.AccessLoggerNameVarKey, []any{"chosen"})
	if got := accessLoggers(r); len(got) != 1 || got[0] != "chosen" {
		t.Errorf("log_name: got %q", got)
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	if got := accessLoggers(r); len(got) != 0 {
		t.Errorf("log_skip: got %q", got)
	}
}

func requestTo(server *caddyhttp.Server, host string) *http.Request {
	r := httptest.NewRequest("GET", "/socket.io/"+handshake, nil)
	r.Host = host
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), server)
}
