package realtime

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/caddyrules"
	"github.com/caddy-realtime/realtime/rules"
)

func init() {
	httpcaddyfile.RegisterDirective("realtime", parseCaddyfile)
	// Right behind templates: behind what authenticates, logs and encodes,
	// and before handle, whose catch-all would swallow the path.
	httpcaddyfile.RegisterDirectiveOrder("realtime", httpcaddyfile.Before, "invoke")
}

// parseCaddyfile makes a route of a block. Its errors begin with file and line.
func parseCaddyfile(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	route, err := parseBlock(h)
	return route, placeFirst(err)
}

func parseBlock(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	if err := claim(h, handler); err != nil {
		return nil, err
	}
	handler.lintMatcher(h.Dispenser, matcher) // claim has gone back to the directive
	if collect, ok := h.Option(collectOption).(func(*Handler)); ok {
		collect(handler)
	} else {
		handler.logWarnings()
	}
	return h.NewRoute(matcher, handler), nil
}

// placeLast is how Caddy's Dispenser ends an error.
var placeLast = regexp.MustCompile(`^((?s).*), at (\S[^\n]*:\d+)(?: import chain \['([^\n]*)'\])?$`)

// placeFirst gives an error of a Dispenser the form that those of rules have:
// file and line at the beginning.
func placeFirst(err error) error {
	if err == nil || rules.IsPlaced(err) {
		return err
	}
	parts := placeLast.FindStringSubmatch(err.Error())
	if parts == nil {
		return err
	}
	text := parts[2] + ": " + parts[1]
	if parts[3] != "" {
		text += " (imported by " + strings.ReplaceAll(parts[3], "','", ", ") + ")"
	}
	return errors.New(text)
}

// collectOption is the adapter's option for a func(*Handler) that gets each
// handler with the lines of its rules, which its JSON does not have. Its
// warnings are not logged then.
const collectOption = "realtime.collect"

// A claimed hub is one that a block of the Caddyfile has.
type claimed struct {
	at        string // file:line of the block
	agreement string
}

// claim notes that the block has its hub, and refuses a second block that
// cannot share it. Unnamed hubs are never shared: whoever writes two blocks
// without a name may just as well want them apart.
func claim(h httpcaddyfile.Helper, handler *Handler) error {
	agreement, err := handler.agreement()
	if err != nil {
		return err
	}
	h.Reset()
	h.Next()
	const key = "realtime.hubs"
	hubs, _ := h.State[key].(map[string]claimed)
	if hubs == nil {
		hubs = map[string]claimed{}
		h.State[key] = hubs
	}
	first, taken := hubs[handler.Hub]
	switch {
	case !taken:
		hubs[handler.Hub] = claimed{at: handler.Source, agreement: agreement}
	case handler.Hub == "":
		return h.Errf("the block at %s has no hub name either; give both a hub: the same name to share sockets and rooms, different names to keep them apart", first.at)
	case agreement != first.agreement:
		return h.Errf("hub %s: the block at %s has other options; blocks of one hub may differ only in matcher, path and origins", handler.Hub, first.at)
	}
	return nil
}

// UnmarshalCaddyfile sets up the handler from tokens:
//
//	realtime [<matcher>] {
//		hub         <name>
//		path        <path>
//		transports  polling|websocket...
//		protocols   socketio|json...
//		client      <dir>
//		ping        <interval> <timeout>
//		max_message <size>
//		compression off|<threshold>
//		origins     same|*|<origin>...
//		recovery    off|<duration> [<memory>]
//		limits {
//			connections          auto|off|<n>
//			connections_per_ip   off|<n>
//			connect_rate         off|<n>/s [burst <n>]
//			accept               off|<n>/s [burst <n>]
//			connections_per_user off|<n>
//			events               off|<n>/s [burst <n>]
//			bytes                off|<size>/s [burst <size>]
//			cpu                  off|<duration>/s [burst <duration>]
//			fanout               off|<size>/s [burst <size>]
//			rooms                off|<n>
//			outbox               off|<size>
//			memory               auto|off|<size>
//			handshake            off|<duration>
//		}
//		auth <method> {
//			...
//		}
//		allow_rooms <condition>
//		presence {
//			announce list|diff|off
//			interval <duration>
//			grace    off|<duration>
//			rooms    <condition>
//		}
//		use <preset>...
//		on <event>... {
//			<steps>
//		}
//		namespace <name>|~<regexp> {
//			limits {
//				connections_per_user off|<n>
//				rooms                off|<n>
//			}
//			<auth, allow_rooms, presence, use, on>
//		}
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive
	h.Source = place(d)
	if d.NextArg() {
		return d.Errf("realtime: unexpected argument %q; options stand in braces, each on a line of its own", d.Val())
	}
	err := block(d, func(d *caddyfile.Dispenser) error { return handlerOptions.read("realtime", h, d) })
	if err != nil {
		return err
	}
	if err := h.checkIdentity(); err != nil {
		return d.WrapErr(err)
	}
	if h.Limits != nil { // else the ceiling depends on the machine
		if err := h.Recovery.fits(h.Limits.Memory); err != nil {
			return d.WrapErr(err)
		}
	}
	return h.checkRules()
}

// checkIdentity is what Provision will find wrong with origins and auth
// together.
func (h *Handler) checkIdentity() error {
	ambient := h.ambient || slices.ContainsFunc(h.Namespaces, func(n *NamedNamespace) bool { return n.ambient })
	return checkAmbient(ambient, h.Origins)
}

// handlerOptions are those of a realtime block beside those of a namespace.
var handlerOptions = withNamespace(func(h *Handler) *Namespace { return &h.Namespace }, options[*Handler]{
	"hub":         func(h *Handler, d *caddyfile.Dispenser) error { return oneArg(d, &h.Hub) },
	"path":        func(h *Handler, d *caddyfile.Dispenser) error { return h.checked(d, oneArg(d, &h.Path)) },
	"transports":  func(h *Handler, d *caddyfile.Dispenser) error { return h.checked(d, someArgs(d, &h.Transports)) },
	"protocols":   func(h *Handler, d *caddyfile.Dispenser) error { return h.checked(d, someArgs(d, &h.Protocols)) },
	"client":      func(h *Handler, d *caddyfile.Dispenser) error { return oneArg(d, &h.Client) },
	"ping":        func(h *Handler, d *caddyfile.Dispenser) error { return h.checked(d, h.unmarshalPing(d)) },
	"max_message": func(h *Handler, d *caddyfile.Dispenser) error { return h.checked(d, sizeArg(d, &h.MaxMessage)) },
	"compression": (*Handler).unmarshalCompression,
	"origins":     (*Handler).unmarshalOrigins,
	"recovery":    (*Handler).unmarshalRecovery,
	"limits":      (*Handler).unmarshalLimits,
	"namespace":   (*Handler).unmarshalNamespace,
})

// withNamespace adds the options of a namespace, which of gives.
func withNamespace[T any](of func(T) *Namespace, o options[T]) options[T] {
	for name, read := range namespaceOptions {
		o[name] = func(to T, d *caddyfile.Dispenser) error { return read(of(to), d) }
	}
	return o
}

func (h *Handler) unmarshalLimits(d *caddyfile.Dispenser) error {
	h.Limits = new(Limits)
	return unmarshalLimits(d, h.Limits.unmarshalOption)
}

// checked adds to err what check finds, with the present line.
func (h *Handler) checked(d *caddyfile.Dispenser, err error) error {
	return checked(d, err, h.check)
}

func (h *Handler) unmarshalPing(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("ping takes an interval and a timeout: ping 25s 20s")
	}
	for i, dst := range []*caddy.Duration{&h.PingInterval, &h.PingTimeout} {
		v, err := duration(args[i])
		if err != nil {
			return d.Errf("ping: %w", err)
		}
		*dst = v
	}
	return nil
}

func (h *Handler) unmarshalCompression(d *caddyfile.Dispenser) error {
	var arg string
	if err := oneArg(d, &arg); err != nil || arg == "off" {
		return err
	}
	n, err := size(arg)
	if err != nil {
		return d.Errf("compression takes off or the smallest message to compress, such as 1KB: %w", err)
	}
	h.Compression = n
	return nil
}

func (h *Handler) unmarshalOrigins(d *caddyfile.Dispenser) error {
	if err := someArgs(d, &h.Origins); err != nil {
		return err
	}
	if _, err := engine.ParseOrigins(h.Origins); err != nil {
		return d.Errf("origins: %w", err)
	}
	h.lintOrigins(place(d))
	return nil
}

func (h *Handler) unmarshalNamespace(d *caddyfile.Dispenser) error {
	var name string
	if err := oneArg(d, &name); err != nil {
		return err
	}
	n := &NamedNamespace{Name: name}
	if pattern, ok := strings.CutPrefix(name, "~"); ok {
		n.Name, n.Pattern = "", pattern
	}
	h.Namespaces = append(h.Namespaces, n)
	if err := h.checkNamespaces(); err != nil {
		return d.WrapErr(err)
	}
	return block(d, func(d *caddyfile.Dispenser) error { return namedOptions.read("namespace", n, d) })
}

// namedOptions are those of a namespace block.
var namedOptions = withNamespace(func(n *NamedNamespace) *Namespace { return &n.Namespace }, options[*NamedNamespace]{
	"limits": func(n *NamedNamespace, d *caddyfile.Dispenser) error {
		n.Limits = new(NamespaceLimits)
		return unmarshalLimits(d, n.Limits.unmarshalOption)
	},
})

// namespaceOptions are those of every namespace, the main one included.
var namespaceOptions = options[*Namespace]{
	"auth":        (*Namespace).unmarshalAuth,
	"allow_rooms": (*Namespace).unmarshalAllowRooms,
	"presence":    (*Namespace).unmarshalPresence,
	"use":         (*Namespace).unmarshalUse,
	"on":          (*Namespace).unmarshalOn,
}

func (n *Namespace) unmarshalAuth(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("auth: the method is missing; use %s", authMethods())
	}
	method := d.Val()
	if _, err := caddy.GetModule(authNamespace + "." + method); err != nil {
		if bare, ok := strings.CutSuffix(method, "{"); ok {
			return d.Errf("auth: put a space before the brace: auth %s {", bare)
		}
		return d.Errf("auth: unknown method %q; use %s", method, authMethods())
	}
	guest, err := caddyfile.UnmarshalModule(d, authNamespace+"."+method)
	if err != nil {
		return err
	}
	if u, ok := guest.(credentialUser); ok {
		n.ambient = u.credentials().ambient
	}
	var warnings []caddyconfig.Warning
	n.AuthRaw = caddyconfig.JSONModuleObject(guest, "method", method, &warnings)
	if len(warnings) > 0 {
		return d.Errf("auth: %s", warnings[0].Message)
	}
	return nil
}

const authNamespace = "realtime.authenticators"

// authMethods lists the authenticators of this build.
func authMethods() string {
	about := map[string]string{"jwt": " for tokens", "caddy": " for the login of a handler in front"}
	var names []string
	for _, m := range caddy.GetModules(authNamespace) {
		names = append(names, m.ID.Name()+about[m.ID.Name()])
	}
	return strings.Join(names, ", ")
}

func (n *Namespace) unmarshalAllowRooms(d *caddyfile.Dispenser) error {
	if err := oneArg(d, &n.AllowRooms); err != nil {
		return err
	}
	if _, err := rules.Compile(nil, nil, rules.Options{AllowRooms: n.AllowRooms, Expand: expandRule}); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (n *Namespace) unmarshalPresence(d *caddyfile.Dispenser) (err error) {
	n.Presence, err = rules.ParsePresence(caddyrules.Line(d))
	return err
}

func (n *Namespace) unmarshalUse(d *caddyfile.Dispenser) error {
	names := d.RemainingArgs()
	if len(names) == 0 {
		return d.Errf("use: the name of a preset is missing; there are %s", strings.Join(rules.PresetNames(), ", "))
	}
	n.Use = append(n.Use, names...)
	if _, err := n.presets(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// unmarshalOn makes a rule of its own for each event that the line names.
func (n *Namespace) unmarshalOn(d *caddyfile.Dispenser) error {
	line := caddyrules.Line(d)
	on, events := line.Tokens[0], line.Tokens[1:]
	if len(events) == 0 {
		_, err := rules.ParseRule(line) // whose error has the place of the line
		return err
	}
	for _, event := range events {
		rule, err := rules.ParseRule(rules.Line{Tokens: []rules.Token{on, event}, Block: line.Block})
		if err != nil {
			return err
		}
		n.On = append(n.On, rule)
	}
	return nil
}
