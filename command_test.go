package realtime

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/caddy-realtime/realtime/auth"
)

// runCommand runs `caddy realtime <args>` and returns what it prints.
func runCommand(args ...string) (string, error) {
	caddy, cmd := &cobra.Command{Use: "caddy", SilenceUsage: true, SilenceErrors: true}, &cobra.Command{Use: "realtime"}
	addCommands(cmd)
	caddy.AddCommand(cmd)
	var out bytes.Buffer
	caddy.SetOut(&out)
	caddy.SetErr(&out)
	caddy.SetArgs(append([]string{"realtime"}, args...))
	err := caddy.Execute()
	return out.String(), err
}

const commandsCaddyfile = "testdata/commands/Caddyfile"

// Each file of testdata/commands is what one command prints, with its error in
// the last line.
func TestCommandTestPrintsWhatARuleDoes(t *testing.T) {
	for name, args := range map[string]string{
		"chat":             `send-message --args [{"roomId":"r","text":"hi"}] --user ann --rooms r,q --ack`,
		"chat_refused":     `send-message --args [{"roomId":"r","text":"hi"}] --user ann --ack --expect FORBIDDEN`,
		"chat_unexpected":  `send-message --args [{"roomId":"r","text":"hi"}]`,
		"connect":          `connect --handshake {"auth":{"name":"Ann"}}`,
		"connect_refused":  `connect`,
		"disconnect":       `disconnect --rooms r`,
		"order":            `order --args [{"id":"a","amount":5}] --user {"sub":"ann","role":"x"} --data {"name":"Ann"} --ack`,
		"order_confirmed":  `order --args [{"id":"a","amount":500}] --data {"name":"Ann"} --ack --answer [true]`,
		"order_unanswered": `order --args [{"id":"a","amount":500}] --data {"name":"Ann"} --ack --expect TIMEOUT`,
		"order_invalid":    `order --args [{"id":"a","amount":0}] --expect INVALID`,
		"order_nameless":   `order --args [{"id":"a","amount":5}]`,
		"order_json":       `order --args [{"id":"a","amount":5}] --data {"name":"Ann"} --ack --json`,
		"join_not_allowed": `join-room --args ["secret-1"] --ack`,
		"join_reserved":    `join-room --args ["user:ann"]`,
		"leave":            `leave-room --args ["r"] --rooms r`,
		"leave_elsewhere":  `leave-room --args ["r"]`,
		"rejoin":           `rejoin --args [["a","secret-1"]] --ack --user ann --expect ok`,
		"rejoin_many":      `rejoin --args [["a","b","c"]] --json --expect TOO_MANY`,
		"bye":              `bye`,
		"quiet":            `quiet --ack`,
		"unknown":          `nothing --expect UNKNOWN_EVENT`,
		"namespace":        `ping --namespace /team-a --ack`,
		"namespace_none":   `ping --namespace /none`,
		"bad_args":         `order --args {"id":1}`,
		"bad_args_text":    `order --args hello`,
		"bad_data":         `order --data []`,
		"bad_answer":       `order --answer true`,
		"bad_expect":       `order --expect invalid`,
		"bad_expect_code":  `order --expect NO_SUCH_CODE`,
		"bad_user":         `order --user {"name":"x"}`,
		"user_number":      `ping --namespace /team-a --ack --user {"id":7}`,
		"user_claim":       `who --namespace /claims --ack --user {"sub":"s","uid":12}`,
		"user_claim_none":  `who --namespace /claims --ack --user {"sub":"s"}`,
		"user_claim_id":    `who --namespace /claims --ack --user ann`,
		"log_cut":          `shout --args ["` + strings.Repeat("a", 2000) + `"] --json`,
		"other":            `ping --hub other`,
	} {
		t.Run(name, func(t *testing.T) {
			all := append([]string{"test", commandsCaddyfile}, strings.Fields(args)...)
			if !strings.Contains(args, "--hub") {
				all = append(all, "--hub", "main")
			}
			got, err := runCommand(all...)
			if err != nil {
				got += "Error: " + err.Error() + "\n"
			}
			golden(t, filepath.Join("testdata", "commands", name+".Caddyfile"), ".txt", []byte(steadyText(got)))
		})
	}
}

// Each script of testdata/scripts is run, and what it prints is beside it.
func TestCommandTestRunsScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/scripts/*.test")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range scripts {
		t.Run(filepath.Base(path), func(t *testing.T) {
			got, err := runCommand("test", commandsCaddyfile, "--hub", "main", "--script", path)
			if err != nil {
				got += "Error: " + err.Error() + "\n"
			}
			golden(t, path, ".txt", []byte(steadyText(got)))
		})
	}
}

func TestCommandScriptErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"  ok":                                ":1: an indented line must follow an event",
		"ann emits x":                         ":1: there is no client ann; write client ann before",
		"client ann\nclient ann":              ":2: there is a client ann already",
		"client ann\nann sends x":             ":2: unknown event; write client",
		"client ann\nann emits":               ":2: the event is missing",
		"client ann\nann emits connect":       ":2: a client cannot send connect; write client <name> {…}",
		"client ann\nann emits disconnect":    ":2: a client cannot send disconnect; write <client> disconnects",
		"client ann\nann emits x [":           ":2: [ is not JSON: unexpected EOF; separate",
		"client ann\nann emits x hi":          ":2: hi is not JSON",
		"client ann\nann emits x {\n\"a\":":   ":2: {",
		"client ann\nann emits x\n  fine":     ":3: unknown expectation; write refused",
		"client ann\nann emits x\n  b gets y": ":3: there is no client b",
		`client ann "ann"`:                    `:1: write what is known of the client as an object: {"user": "ann"}`,
		`client ann {"usr": "ann"}`:           `:1: client ann: json: unknown field "usr"; there are user, namespace, rooms, data and handshake`,
		`client ann {"namespace": "/none"}`:   ":1: there is no namespace /none",
		`client ann {"namespace": "/claims"}`: `:1: client ann: auth lets no one in without a token; write client ann {"user": "ann"}`,
		"client ann\nann emits x":             ":2: ann is not connected",
	} {
		_, err := runCommand("test", commandsCaddyfile, "--hub", "main", "--script", writeFile(t, "script", text+"\n"))
		if err == nil || !strings.Contains(err.Error(), "script"+want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if _, err := runCommand("test", commandsCaddyfile, "--script", "x", "--expect", "ok"); err == nil {
		t.Error("a script with --expect")
	}
}

var (
	uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	times = regexp.MustCompile(`"timestamp":1[0-9]{12}\b`)
)

// steadyText replaces what differs from run to run.
func steadyText(s string) string {
	s = uuids.ReplaceAllString(s, "UUID")
	return times.ReplaceAllString(s, `"timestamp":NOW`)
}

func TestCommandTestErrorsSayWhatToDo(t *testing.T) {
	empty := writeFile(t, "Caddyfile", "localhost {\n}\n")
	wrong := writeFile(t, "Caddyfile", "localhost {\n\trealtime {\n\t\ton x {\n\t\t\tack nobody\n\t\t}\n\t}\n}\n")
	closed := writeFile(t, "Caddyfile", "localhost {\n\trealtime {\n\t\tauth jwt {\n\t\t\tsecret {env.X}\n\t\t}\n"+
		"\t\tnamespace /open {\n\t\t\tauth jwt {\n\t\t\t\tsecret {env.X}\n\t\t\t\toptional\n\t\t\t}\n\t\t}\n\t}\n}\n")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"none", "x"}, "no such file"},
		{[]string{empty, "x"}, "no realtime block"},
		{[]string{wrong, "x"}, "Caddyfile:4: ack: nobody: undeclared name"},
		{[]string{commandsCaddyfile, "ping"}, "choose a hub with --hub: main, other"},
		{[]string{commandsCaddyfile, "ping", "--hub", "x"}, "choose a hub with --hub: main, other"},
		{[]string{commandsCaddyfile}, "accepts 2 arg(s)"},
		{[]string{closed, "x"}, "give the user's id or claims with --user"},
		{[]string{closed, "x", "--namespace", "/open", "--expect", "UNKNOWN_EVENT"}, ""},
		{[]string{closed, "x", "--user", "ann", "--expect", "UNKNOWN_EVENT"}, ""},
	} {
		if _, err := runCommand(append([]string{"test"}, test.args...)...); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %s", test.args, err, test.want)
		}
	}
}

func TestCommandTokenMakesValidTokens(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	t.Setenv("TOKEN_SECRET", secret)
	for _, from := range [][]string{
		{"--secret", secret},
		{"--secret-env", "TOKEN_SECRET"},
		{"--secret-file", writeFile(t, "secret", secret+"\n")},
	} {
		out, err := runCommand(append([]string{"token", "--sub", "ann", "--claim", "role=admin", "--claim", "n=12345678901234567890", "--claim", `teams=["a"]`, "--ttl", "1d"}, from...)...)
		if err != nil {
			t.Fatal(err)
		}
		verifier, err := auth.NewVerifier(auth.Config{Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		identity, err := verifier.Verify(t.Context(), strings.TrimSpace(out))
		if err != nil {
			t.Fatal(err)
		}
		for _, claim := range []string{`"role":"admin"`, `"n":12345678901234567890`, `"teams":["a"]`, `"sub":"ann"`} {
			if !strings.Contains(string(identity.Claims), claim) {
				t.Errorf("%s lacks %s", identity.Claims, claim)
			}
		}
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--secret", "short", "--sub", "a"}, "the secret has 5 bytes, it needs at least 32"},
		{[]string{"--secret-env", "NO_SUCH_SECRET", "--sub", "a"}, "no environment variable NO_SUCH_SECRET"},
		{[]string{"--secret-file", "none", "--sub", "a"}, "no such file"},
		{[]string{"--secret", secret}, "at least one of the flags"},
		{[]string{"--sub", "a"}, "at least one of the flags"},
		{[]string{"--secret", secret, "--sub", "a", "--claim", "x"}, "not of the form name=value"},
		{[]string{"--secret", secret, "--sub", "a", "--ttl", "-1s"}, "must be greater than 0"},
		{[]string{"--secret", secret, "--sub", ""}, "sub is empty"},
	} {
		if out, err := runCommand(append([]string{"token"}, test.args...)...); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(out, secret) {
			t.Errorf("%q: %v, want %s", test.args, err, test.want)
		}
	}
}

func TestUnknownCommandIsAnError(t *testing.T) {
	if out, err := runCommand("tset", commandsCaddyfile, "ping"); err == nil || !strings.Contains(err.Error(), `unknown command "tset"`) {
		t.Errorf("%v, %s", err, out)
	}
	if out, err := runCommand(); err != nil || !strings.Contains(out, "preset") {
		t.Errorf("%v, %s", err, out)
	}
}

func TestCommandPresetShowsTheSource(t *testing.T) {
	list, err := runCommand("preset")
	if err != nil || !strings.Contains(list, "chat       messages to rooms") {
		t.Errorf("%v, %s", err, list)
	}
	source, err := runCommand("preset", "rooms")
	if err != nil || !strings.Contains(source, "on join-room {\n") {
		t.Errorf("%v, %s", err, source)
	}
	if _, err := runCommand("preset", "x"); err == nil || !strings.Contains(err.Error(), "the presets are chat") {
		t.Error(err)
	}
}
