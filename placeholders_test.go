package realtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlaceholdersWithoutValueInRulesAreErrors(t *testing.T) {
	t.Setenv("GREETING", `say "hi" {env.SECRET}`)
	t.Setenv("SECRET", "never")
	file := filepath.Join(t.TempDir(), "name")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                                  "",
		"{env.GREETING}!":                   `say "hi" {env.SECRET}!`, // once, and no more
		"{file." + file + "}":               "from a file",
		"{env.NOT_SET}":                     "",
		`a{1,3} {x} {"k": {env.SECRET}} {}`: `a{1,3} {x} {"k": never} {}`,
	} {
		if got, err := expandRule(text); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", text, got, err, want)
		}
	}
	for text, instead := range map[string]string{
		"{http.request.host}":              `socket.handshake.headers["host"]`,
		"{http.request.header.User-Agent}": `socket.handshake.headers["user-agent"]`,
		"{http.request.uri.query.room}":    `socket.handshake.query["room"]`,
		"{http.request.uri.path}":          "socket.handshake.url",
		"{http.request.remote.host}":       "socket.handshake.address",
		"{http.vars.client_ip}":            "socket.handshake.address",
		"{http.auth.user.id}":              "use user.id",
		"{http.auth.user.email}":           "use user.email",
		"{http.request.cookie.sid}":        "rules do not see cookies",
		"{http.regexp.x.1}":                "use socket.handshake",
		"{time.now.unix}":                  "use now",
	} {
		if got, err := expandRule("hello " + text); err == nil || !strings.HasPrefix(err.Error(), text+" has no value in a rule: ") || !strings.Contains(err.Error(), instead) {
			t.Errorf("%s: %q %v", text, got, err)
		}
	}
}
