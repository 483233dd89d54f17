package realtime

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/realtime/auth"
)

// logged reads a log and returns its lines.
func logged(t *testing.T, path string) (lines []map[string]any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(string(content)) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		lines = append(lines, line)
	}
	return lines
}

// debugLog is a config whose sites log to the file, everything.
func debugLog(path string, sites ...string) string {
	return "{" + globalOptions + "log {\n output file " + path + "\n level DEBUG\n }\n}\n" + strings.Join(sites, "\n")
}

// An operator finds each refusal, and the line of the Caddyfile that refused.
func TestRefusalsAreInTheLog(t *testing.T) {
	path, port := filepath.Join(t.TempDir(), "log"), freePort(t)
	block := `realtime {
		auth jwt {
			secret ` + testSecret + `
		}
		use chat
		on say {
			require false "No"
			ack 1
		}
		on hurry {
			rate 1/h
		}
		on shaped {
			schema ` + "`" + `{"type": "object"}` + "`" + `
		}
	}`
	config := debugLog(path, site(port, block))
	mustLoad(t, config)
	c := dialWebSocket(t, port, nil)
	join(t, c, `{"token":"`+token(t, "ann")+`"}`)
	for _, event := range []string{"say", "hurry", "hurry", "shaped", "send-message", "none"} {
		if _, err := call(c, event); err != nil {
			t.Fatal(err)
		}
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}

	type refusal struct{ event, code, rule string }
	lineOf := func(text string) string {
		return fmt.Sprint("Caddyfile:", 1+strings.Count(config[:strings.Index(config, text)], "\n"))
	}
	var got []refusal
	for _, line := range logged(t, path) {
		if line["msg"] != "refused" {
			continue
		}
		rule, _ := line["rule"].(string)
		got = append(got, refusal{line["event"].(string), line["code"].(string), rule})
		if line["user_id"] != "ann" || line["level"] != "debug" || line["remote_ip"] != "127.0.0.1" || line["namespace"] != "/" {
			t.Errorf("%v", line)
		}
	}
	want := []refusal{
		{"say", "INVALID", lineOf(`require false`)},
		{"hurry", "RATE_LIMITED", lineOf("rate 1/h")},
		{"shaped", "INVALID", lineOf("schema")},
		{"send-message", "INVALID", "preset chat:"},
		{"none", "UNKNOWN_EVENT", ""},
	}
	for i := range want {
		if i >= len(got) || got[i].event != want[i].event || got[i].code != want[i].code || !strings.HasPrefix(got[i].rule, want[i].rule) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
}

// A genuine token that its issuer made wrong is a warning that says what helps,
// once for each cause; a forged one is not.
func TestTokensWithoutExpAreWarnings(t *testing.T) {
	path, port := filepath.Join(t.TempDir(), "log"), freePort(t)
	mustLoad(t, debugLog(path, site(port, "realtime {\n auth jwt {\n secret "+testSecret+"\n }\n}")))
	sign := func(secret, claims string) string {
		text, err := auth.Sign(secret, []byte(claims))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	refused := func(token string) {
		t.Helper()
		c := dialWebSocket(t, port, nil)
		if err := c.send(`40{"token":"` + token + `"}`); err != nil {
			t.Fatal(err)
		}
		expect(t, c, `44{"message":"Invalid token"`)
	}
	noExp := sign(testSecret, `{"sub": "ann"}`)
	noUser := sign(testSecret, fmt.Sprintf(`{"name": "ann", "exp": %d}`, time.Now().Add(time.Hour).Unix()))
	refused(sign(strings.Repeat("x", 32), `{"sub": "ann"}`)) // forged
	for range 3 {
		refused(noExp)
		refused(noUser)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	var warnings []string
	refusals := 0
	for _, line := range logged(t, path) {
		switch {
		case line["level"] == "warn" && strings.HasPrefix(line["msg"].(string), "refused a token"):
			warnings = append(warnings, line["msg"].(string))
		case line["msg"] == "refused":
			refusals++
		}
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "allow_no_exp") || !strings.Contains(warnings[1], "user_claim") {
		t.Errorf("warnings: %q", warnings)
	}
	if refusals != 7 {
		t.Errorf("%d debug lines, want 7", refusals)
	}
}

// Whatever a client calls itself, a log shows letters.
func TestLogsArePrintable(t *testing.T) {
	const evil = "a\u0085\u009b31m\u202eb\u2028\u200b\x7fc"
	path, access, port := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "access"), freePort(t)
	mustLoad(t, debugLog(path, site(port, "log {\n output file "+access+"\n}\nrealtime {\n auth jwt {\n secret "+testSecret+"\n }\n on say {\n log data\n }\n}")))
	user := "ann\u202e"
	c := dialWebSocket(t, port, http.Header{"User-Agent": {"x"}})
	quoted, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	quoted = bytes.ReplaceAll(quoted, []byte(`\u2028`), []byte("\u2028"))
	join(t, c, `{"token":"`+token(t, user)+`"}`)
	if err := c.send(`421["say",` + string(quoted) + `]`); err != nil {
		t.Fatal(err)
	}
	expect(t, c, "431[]")
	if err := c.send("422[\"un\u202eknown\u200b\"]"); err != nil {
		t.Fatal(err)
	}
	expect(t, c, `432[{"error":"Unknown event`)
	if err := c.send("40/na\u202eme,"); err != nil {
		t.Fatal(err)
	}
	if _, err := next(c); err != nil {
		t.Fatal(err)
	}
	c.conn.Close()
	awaitSessionLine(t, access)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, access} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range string(content) {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("%s has %U:\n%s", filepath.Base(name), r, content)
			}
		}
		if !strings.Contains(string(content), `ann\\u202e`) {
			t.Errorf("%s does not show the user: %s", filepath.Base(name), content)
		}
	}
	if content, _ := os.ReadFile(path); !strings.Contains(string(content), `a\\u0085\\u009b31m\\u202eb\\u2028\\u200b\\u007fc`) {
		t.Errorf("the step log: %s", content)
	}
}

func TestPrintableEscapesWhatTerminalsObey(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "",
		"plain, Ünïcode 日本 👍": "plain, Ünïcode 日本 👍",
		"\x00\n\t\x1b[31m":    `\u0000\u000a\u0009\u001b[31m`,
		"\u009b\u202e\u2066":  `\u009b\u202e\u2066`,
		"\U000e0001":          `\U000e0001`,
		"a\xffb":              `a\xffb`,
		"a\ufffdb\x00":        "a\ufffdb" + `\u0000`,
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	var buf bytes.Buffer
	log := printableLog(slog.New(slog.NewTextHandler(&buf, nil))).With("hub", "h\u202e").WithGroup("g")
	log.Info("said", "text", "a\u202eb", "n", 7, "error", fmt.Errorf("bad \u009b"), "stack", "one\ntwo")
	for _, want := range []string{`hub=h\u202e`, `g.text=a\u202eb`, "g.n=7", `\u009b"`, `g.stack="one\ntwo"`} {
		if !strings.Contains(strings.ReplaceAll(buf.String(), `\\`, `\`), want) {
			t.Errorf("%s is missing in %s", want, buf.String())
		}
	}
}

// The line of a session says whose it was, and that a connection was upgraded
// is no news for net/http.
func TestSessionLineNamesTheUser(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	path, access := filepath.Join(dir, "log"), filepath.Join(dir, "access")
	config := debugLog(path, site(port, "log {\n output file "+access+"\n}\nencode\nrealtime {\n auth jwt {\n secret "+testSecret+"\n }\n on go {\n disconnect true\n }\n}"))
	config = strings.Replace(config, globalOptions, globalOptions+"metrics\n", 1)
	mustLoad(t, config)
	for name, dial := range dialers {
		c := dial(t, port)
		join(t, c, `{"token":"`+token(t, name)+`"}`)
		if err := c.send(`42["go"]`); err != nil {
			t.Fatal(err)
		}
	}
	for len(sessionLines(t, access)) < len(dialers) {
		awaitSessionLine(t, access)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	users := map[string]int{}
	for _, line := range sessionLines(t, access) {
		users[line.UserID] = line.Status
	}
	if users["polling"] != 200 || users["websocket"] != 101 || len(users) != 2 {
		t.Errorf("got %v", users)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), "hijacked") {
		t.Errorf("%s", content)
	}
	if !strings.Contains(string(content), `"socket joined"`) {
		t.Error("the log has no debug lines")
	}
}
