package realtime

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// foreign are placeholders that have no value when a configuration loads.
var foreign = regexp.MustCompile(`\{((?:http|vars|tls|time)\.[^{}\s]+)\}`)

// expandRule replaces Caddy's global placeholders, such as {env.X}, in a string
// of a rule, once, when the configuration loads. A placeholder of a request is
// an error, which names the variable of rules that has the value. Braces that
// mean nothing to Caddy stay.
func expandRule(text string) (string, error) {
	if found := foreign.FindStringSubmatch(text); found != nil {
		return "", fmt.Errorf("%s has no value in a rule: %s", found[0], insteadOf(found[1]))
	}
	return caddy.NewReplacer().ReplaceKnown(text, ""), nil
}

// variablesFor are the variables of rules that say what a placeholder says, by
// the beginning of its name. An asterisk stands for the rest of the name.
var variablesFor = []struct{ placeholder, instead string }{
	{"time.", "use now, milliseconds since 1970"},
	{"http.auth.user.id", "use user.id"},
	{"http.auth.user.", "use user.*"},
	{"http.request.header.", `use socket.handshake.headers["*"]`},
	{"http.request.cookie.", "rules do not see cookies; auth may read one"},
	{"http.request.uri.query.", `use socket.handshake.query["*"]`},
	{"http.request.uri", "use socket.handshake.url"},
	{"http.request.orig_uri", "use socket.handshake.url"},
	{"http.request.hostport", `use socket.handshake.headers["host"]`},
	{"http.request.host", `use socket.handshake.headers["host"]`},
	{"http.request.scheme", "use socket.handshake.secure"},
	{"http.request.uuid", "use uuid()"},
	{"http.request.tls.", "use socket.handshake.secure"},
	{"http.request.remote", "use socket.handshake.address"},
	{"http.vars.client_ip", "use socket.handshake.address"},
}

func insteadOf(placeholder string) string {
	for _, v := range variablesFor {
		if rest, ok := strings.CutPrefix(placeholder, v.placeholder); ok {
			return strings.ReplaceAll(v.instead, "*", strings.ToLower(rest))
		}
	}
	return "use socket.handshake, or a variable of rules"
}
