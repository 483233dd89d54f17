package realtime

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/realtime/rules"
)

// options are what a block of the Caddyfile may contain: what reads the
// arguments of each into a T.
type options[T any] map[string]func(T, *caddyfile.Dispenser) error

// read reads the present option of the block called title.
func (o options[T]) read(title string, to T, d *caddyfile.Dispenser) error {
	if read := o[d.Val()]; read != nil {
		return read(to, d)
	}
	return unknownOption(d, title, slices.Sorted(maps.Keys(o)))
}

// unknownOption says what to write instead of the present option.
func unknownOption(d *caddyfile.Dispenser, title string, known []string) error {
	name := d.Val()
	if hint := optionHint(title, name, known); hint != "" {
		return d.Errf("%s has no option %q: %s", title, name, hint)
	}
	return d.Errf("%s has no option %q%s", title, name, rules.Suggest(name, "its options", known))
}

// optionHint is what the author of an unknown option most likely wants to know,
// "" if that cannot be told.
func optionHint(title, name string, known []string) string {
	if bare, ok := strings.CutSuffix(name, "{"); ok && bare != "" {
		return fmt.Sprintf("put a space before the brace, %s {", bare)
	}
	for _, h := range foreignOptions {
		if slices.Contains(h.names, name) {
			return h.instead
		}
	}
	if _, ok := limitOptions[name]; ok && title == "realtime" {
		return "it belongs in the block limits { … }"
	}
	if slices.Contains(rules.StepNames(), name) {
		return fmt.Sprintf("%s is a step of a rule and belongs in a block on <event> { … }", name)
	}
	return ""
}

// foreignOptions are options of Socket.IO's server, and words that people try,
// with what to write here.
var foreignOptions = []struct {
	names   []string
	instead string
}{
	{[]string{"cors", "origin", "cors_origins", "allowed_origins", "allow_origin", "credentials"},
		"pages of other sites are let in by origins, as in: origins https://app.example.com"},
	{[]string{"pingInterval", "pingTimeout", "ping_interval", "ping_timeout", "heartbeat"},
		"write the interval and the timeout as: ping 25s 20s"},
	{[]string{"maxHttpBufferSize", "max_http_buffer_size", "maxPayload", "max_payload"},
		"write it as: max_message 1MB"},
	{[]string{"perMessageDeflate", "httpCompression", "per_message_deflate", "permessage_deflate", "compress"},
		"write the smallest message to compress as: compression 1KB"},
	{[]string{"connectionStateRecovery", "connection_state_recovery", "maxDisconnectionDuration", "recover", "history"},
		"write how long a client may be away as: recovery 2m"},
	{[]string{"allowEIO3", "allow_eio3"},
		"clients of Socket.IO v2 cannot connect here; use version 3 or later of socket.io-client"},
	{[]string{"serveClient", "serve_client", "clientPath"},
		"write the dist directory of socket.io-client as: client node_modules/socket.io-client/dist"},
	{[]string{"connectTimeout", "connect_timeout", "upgradeTimeout", "upgrade_timeout"},
		"write it in the block limits, as: handshake 45s"},
	{[]string{"maxConnections", "max_connections"},
		"write it in the block limits, as: connections 10000"},
	{[]string{"allowUpgrades", "allow_upgrades", "transport"},
		"choose from polling and websocket, as in: transports websocket"},
	{[]string{"allowRequest", "allow_request", "middleware", "middlewares", "authenticate", "authentication"},
		"clients are let in by auth, and by the step require of the rule on connect"},
	{[]string{"jwt", "secret", "token"},
		"it belongs in the block auth jwt { … }"},
	{[]string{"cookie"},
		"this server sets no cookie; a token in a cookie is found by from cookie.<name> in the block auth jwt"},
	{[]string{"adapter", "redis", "cluster"},
		"this version has no adapter: its rooms are on one node"},
	{[]string{"port", "listen", "host", "address"},
		"the address belongs before the block of the site, as in: example.com:8080 { … }"},
	{[]string{"wsEngine", "addTrailingSlash", "destroyUpgrade", "destroyUpgradeTimeout", "cleanupEmptyChildNamespaces", "initialPacket"},
		"this server needs no such setting; leave it out"},
	{[]string{"event", "io.on", "socket.on", "rule", "when"},
		"a rule is written as: on <event> { … }"},
	{[]string{"connect", "connection", "io.connect"},
		"the rule for new clients is written as: on connect { … }"},
	{[]string{"rooms"},
		"the preset is named by use, as in: use rooms; the limit belongs in the block limits"},
	{[]string{"chat", "typing", "updates", "members", "rejoin", "preset", "presets"},
		"presets are named by use, as in: use rooms chat"},
	{[]string{"of", "io.of", "nsp"},
		"write it as: namespace /chat { … }"},
	// Of the realtime block, where they are known.
	{[]string{"hub", "path", "transports", "protocols", "client", "ping", "max_message", "compression", "origins", "recovery", "namespace"},
		"it is an option of the realtime block itself"},
	{[]string{"//", "/*"},
		"a comment begins with #"},
	{[]string{"reverse_proxy", "file_server", "root", "tls", "encode", "log"},
		"this is a directive of Caddy and belongs beside the realtime block, not in it"},
}
