package realtime

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/names"
	"github.com/caddy-realtime/realtime/parser"
	"github.com/caddy-realtime/realtime/rules"
)

// Namespace says who may connect to one namespace and what they may do there.
type Namespace struct {
	// Who a client is. Without it everybody is anonymous. Named namespaces
	// inherit it from the main one.
	AuthRaw json.RawMessage `json:"auth,omitempty" caddy:"namespace=realtime.authenticators inline_key=method"`

	// A CEL condition over `room`, asked whenever a room that a client chose
	// would be joined. Named namespaces inherit it from the main one.
	// Default: any room.
	AllowRooms string `json:"allow_rooms,omitempty"`

	// Who is told of users that come and go. Named namespaces inherit it from
	// the main one, unless they have their own. Default: nobody, or what a
	// preset in use says.
	Presence *rules.Presence `json:"presence,omitempty"`

	// Rules that ship with the module, by their names. The namespace's own
	// rule for an event replaces theirs.
	Use []string `json:"use,omitempty"`

	// The namespace's own rules. An event without a rule is refused.
	On []rules.Rule `json:"on,omitempty"`

	ambient bool // auth as a Caddyfile has it is: see credentialSpec
}

// NamedNamespace is a namespace beside the main one.
type NamedNamespace struct {
	// The name, such as `/chat`. Either this or `pattern` must be given.
	Name string `json:"name,omitempty"`

	// A regular expression that the whole name must match.
	Pattern string `json:"pattern,omitempty"`

	// What sockets may use up here, as far as it is not the connection's, whose
	// limits are those of the handler for all its namespaces.
	Limits *NamespaceLimits `json:"limits,omitempty"`

	Namespace
}

const (
	maxMaxMessage = 1 << 30                        // beyond it, a client's message is no message any more
	maxPing       = caddy.Duration(24 * time.Hour) // beyond it, nobody is missed
)

// check reports the first setting that makes no sense. Zero values mean
// defaults and are fine.
func (h *Handler) check() error {
	switch {
	case h.Path != "" && h.Path[0] != '/':
		return fmt.Errorf("path %q must begin with a slash", h.Path)
	case strings.ContainsAny(h.Path, "*?#{"):
		return fmt.Errorf("path %q is taken literally; leave out wildcards, queries and placeholders: everything below the path belongs to the endpoint", h.Path)
	case h.PingInterval < 0 || h.PingTimeout < 0:
		return errors.New("ping: interval and timeout must be greater than 0")
	case max(h.PingInterval, h.PingTimeout) > maxPing:
		return errors.New("ping: interval and timeout must be at most 24h")
	case h.MaxMessage < 0 || h.MaxMessage > maxMaxMessage:
		return errors.New("max_message must be between 1 byte and 1GiB")
	case h.Compression < 0:
		return errors.New("compression: the threshold is negative")
	}
	for _, transport := range h.Transports {
		if transport != "polling" && transport != "websocket" {
			return fmt.Errorf("transports: unknown transport %q; use polling, websocket or both", transport)
		}
	}
	for _, protocol := range h.Protocols {
		if err := checkProtocol(protocol); err != nil {
			return err
		}
	}
	return cmp.Or(h.Limits.check(), h.Recovery.check(), h.checkNamespaces())
}

func checkProtocol(name string) error {
	if name != "socketio" && name != "json" {
		return fmt.Errorf("protocols: unknown protocol %q; use socketio, json or both", name)
	}
	return nil
}

func (h *Handler) checkNamespaces() error {
	seen := map[string]bool{}
	for i, n := range h.Namespaces {
		if n == nil {
			return fmt.Errorf("namespaces[%d] is null", i)
		}
		if err := n.check(); err != nil {
			return err
		}
		if seen[n.title()] {
			return fmt.Errorf("namespace %s is configured twice", n.title())
		}
		seen[n.title()] = true
	}
	return nil
}

// title is the namespace as the Caddyfile names it.
func (n *NamedNamespace) title() string {
	if n.Pattern != "" {
		return "~" + n.Pattern
	}
	return n.Name
}

func (n *NamedNamespace) check() error {
	if n.Pattern != "" {
		if n.Name != "" {
			return fmt.Errorf("namespace %s has both a name and a pattern; use one of them", n.Name)
		}
		if _, err := regexp.Compile(n.Pattern); err != nil {
			return fmt.Errorf("namespace ~%s: %w", n.Pattern, err)
		}
		return nil
	}
	switch name := n.Name; {
	case name == "/":
		return errors.New("namespace / is the realtime block itself; move its options there")
	case !strings.HasPrefix(name, "/"):
		return fmt.Errorf("namespace %q must begin with a slash; a regular expression begins with ~", name)
	case len(name) > parser.MaxNamespace:
		return fmt.Errorf("namespace %.20s… is longer than %d bytes", name, parser.MaxNamespace)
	case !names.Clean(name):
		return fmt.Errorf("namespace %q contains control characters or invalid UTF-8", name)
	case strings.ContainsAny(name, ",?"):
		return fmt.Errorf("namespace %q contains a comma or question mark, which clients cannot send", name)
	}
	return nil
}

// agreement is what handlers of one hub must agree on, in canonical form. It
// must be taken before the modules are loaded, which takes their JSON away.
func (h *Handler) agreement() (string, error) {
	same := *h
	same.setDefaults()
	same.Path, same.Origins, same.Source = "", nil, ""
	text, err := json.Marshal(same)
	if err != nil {
		return "", err
	}
	// Raw modules may have their keys in any order; maps are sorted.
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return "", err
	}
	withoutSources(v)
	text, err = json.Marshal(v)
	return string(text), err
}

// withoutSources takes from a handler's JSON, decoded, where its rules came
// from.
func withoutSources(handler any) {
	h, _ := handler.(map[string]any)
	on, _ := h["on"].([]any)
	rules.WithoutSources(on)
	namespaces, _ := h["namespaces"].([]any)
	for _, n := range namespaces {
		withoutSources(n)
	}
}

// transport reports whether Socket.IO clients may use it.
func (h *Handler) transport(name string) bool {
	return h.protocol("socketio") && (len(h.Transports) == 0 || slices.Contains(h.Transports, name))
}

func (h *Handler) protocol(name string) bool {
	return len(h.Protocols) == 0 || slices.Contains(h.Protocols, name)
}

// build makes what the hub will work by.
func (h *Handler) build(ctx caddy.Context) (*generation, error) {
	log := printableLog(ctx.Slogger())
	if h.Hub != "" {
		log = log.With("hub", h.Hub)
	}
	if h.Source == "" {
		if err := h.lintRules(); err != nil {
			return nil, err
		}
	}
	namespaces, err := h.buildNamespaces(ctx, log)
	if err != nil {
		return nil, err
	}
	limits := h.Limits.orDefaults()
	return &generation{needs: credentialsFor(namespaces), access: newAccessLogger(ctx), config: hub.Config{
		Engine: engine.Config{
			PingInterval:     time.Duration(h.PingInterval),
			PingTimeout:      time.Duration(h.PingTimeout),
			HandshakeTimeout: time.Duration(limits.Handshake),
			MaxPayload:       h.MaxMessage,
			MaxSessions:      limits.Connections,
			SessionsPerIP:    limits.ConnectionsPerIP,
			ConnectRate:      limits.ConnectRate.budget(),
			Accept:           limits.Accept.budget(),
			Rates:            limits.rates(),
			Outbox:           limits.Outbox,
			Memory:           limits.Memory,
			Compression:      h.Compression,
			NoPolling:        !h.transport("polling"),
			NoWebSocket:      !h.transport("websocket"),
			Plain:            h.protocol("json"),
			Logger:           log,
		},
		Namespaces:         namespaces,
		RoomsPerSocket:     limits.Rooms,
		ConnectionsPerUser: limits.ConnectionsPerUser,
		Recovery:           h.Recovery.config(limits.Memory),
		Logger:             log,
	}}, nil
}

func (h *Handler) buildNamespaces(ctx caddy.Context, log *slog.Logger) ([]hub.NamespaceConfig, error) {
	inherited, err := h.loadAuth(ctx)
	if err != nil {
		return nil, err
	}
	main := hub.NamespaceConfig{Name: "/", Auth: inherited}
	main.Policy, main.Presence, err = h.compile(rules.Options{AllowRooms: h.AllowRooms, Logger: log, IsNamespace: h.isNamespace}, h.Presence)
	if err != nil {
		return nil, err
	}
	list := []hub.NamespaceConfig{main}
	for _, n := range h.Namespaces {
		c, err := n.build(ctx, h, inherited, log)
		if err != nil {
			return nil, fmt.Errorf("namespace %s: %w", n.title(), err)
		}
		list = append(list, c)
	}
	return list, nil
}

func (n *NamedNamespace) build(ctx caddy.Context, h *Handler, inherited hub.Authenticator, log *slog.Logger) (hub.NamespaceConfig, error) {
	c := hub.NamespaceConfig{Name: n.Name}
	c.RoomsPerSocket, c.ConnectionsPerUser = n.Limits.inForce()
	var err error
	if n.Pattern != "" {
		if c.Pattern, err = regexp.Compile(n.Pattern); err != nil {
			return c, err
		}
	}
	if c.Auth, err = n.loadAuth(ctx); err != nil {
		return c, err
	}
	if c.Auth == nil {
		c.Auth = inherited
	}
	c.Policy, c.Presence, err = n.compile(rules.Options{AllowRooms: cmp.Or(n.AllowRooms, h.AllowRooms), Logger: log, IsNamespace: h.isNamespace}, cmp.Or(n.Presence, h.Presence))
	return c, err
}

// loadAuth returns nil if the namespace has no auth of its own.
func (n *Namespace) loadAuth(ctx caddy.Context) (hub.Authenticator, error) {
	if n.AuthRaw == nil {
		return nil, nil
	}
	m, err := ctx.LoadModule(n, "AuthRaw")
	if err != nil {
		return nil, fmt.Errorf("loading auth: %w", err)
	}
	authenticator, ok := m.(hub.Authenticator)
	if !ok {
		return nil, fmt.Errorf("auth: %T is not an authenticator", m)
	}
	return authenticator, nil
}

// presets loads those in use.
func (n *Namespace) presets() ([]rules.Preset, error) {
	var list []rules.Preset
	for i, name := range n.Use {
		if slices.Contains(n.Use[:i], name) {
			return nil, fmt.Errorf("preset %s is named twice", name)
		}
		preset, err := rules.LoadPreset(name)
		if err != nil {
			return nil, err
		}
		list = append(list, preset)
	}
	return list, nil
}

// compile makes a policy of the namespace's rules and presets, and what its
// sockets are told of each other.
func (n *Namespace) compile(o rules.Options, announce *rules.Presence) (set *rules.Set, p hub.PresenceConfig, err error) {
	used, err := n.presets()
	if err != nil {
		return nil, p, err
	}
	var presets [][]rules.Rule
	for _, preset := range used {
		presets = append(presets, preset.Rules)
		announce = announce.Or(preset.Presence)
	}
	if p, err = announce.Compile(); err != nil {
		return nil, p, fmt.Errorf("presence: %w", err)
	}
	o.Presence, o.Expand = p, expandRule
	set, err = rules.Compile(n.On, presets, o)
	return set, p, err
}
