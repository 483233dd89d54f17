// Package realtime is a Caddy module that turns a site into a realtime
// endpoint for Socket.IO clients, with identity and rules in its
// configuration.
//
// This package is the only one that knows Caddy: it reads the configuration
// (Caddyfile or JSON), builds the hub, engine, rules and verifiers that the
// other packages implement, and keeps the hub alive across reloads.
package realtime

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/rules"
)

func init() {
	caddy.RegisterModule(Handler{})
}

const defaultPath = "/socket.io/"

// Handler is a realtime endpoint: Socket.IO clients connect to it, tokens say
// who they are, and rules say what they may do. Requests outside its path go
// to the next handler.
//
// Live connections outlast config reloads and follow the new rules at once.
// A hub or namespace that is gone from the config disconnects its sockets.
type Handler struct {
	// The name of the hub, which holds sockets and rooms. Handlers with the
	// same name share them; they must agree on everything but `path` and
	// `origins`. Only one handler of a config may leave it out.
	Hub string `json:"hub,omitempty"`

	// The path below which the endpoint answers, `socket.io-client` calls it
	// `path` too. It is compared with the path that the client asked for as
	// well as with the one that rewrites made of it. Default: /socket.io/.
	Path string `json:"path,omitempty"`

	// The Socket.IO transports that clients may use: `polling`, `websocket`.
	// Default: both.
	Transports []string `json:"transports,omitempty"`

	// The protocols that clients may speak: `socketio` (Socket.IO v5 over
	// Engine.IO v4) and `json`, plain WebSockets that carry a JSON object a
	// message. They share namespaces, rooms, rules and limits. Default: both.
	Protocols []string `json:"protocols,omitempty"`

	// A directory with the browser builds of socket.io-client (its `dist`
	// directory). They are then served below the path, as `socket.io.js`,
	// `socket.io.min.js`, `socket.io.esm.min.js`, `socket.io.msgpack.min.js`
	// and their `.map` files. Nothing else in it is. Default: none.
	Client string `json:"client,omitempty"`

	// The time between a client's answer to a ping and the next ping; also
	// the longest that an idle poll takes. At most 24h. Default: 25s.
	PingInterval caddy.Duration `json:"ping_interval,omitempty"`

	// The time a client has to answer a ping. At most 24h. Default: 20s.
	PingTimeout caddy.Duration `json:"ping_timeout,omitempty"`

	// The largest message that a client may send, in bytes, binary
	// attachments and inflated data included. Default: 1000000.
	MaxMessage int `json:"max_message,omitempty"`

	// Compress messages of at least so many bytes on WebSockets
	// (permessage-deflate). It costs tens of kilobytes of memory for each
	// connection. Default: 0, no compression.
	Compression int `json:"compression,omitempty"`

	// The origins whose pages may connect, in addition to the own one, which is
	// always allowed: `https://example.com`, `https://*.example.com`, any other
	// scheme such as `capacitor://localhost`, `chrome-extension://<id>` or
	// `file://`; `null`, the origin of sandboxed frames; or `*` for any. `*` and
	// `null` exclude an identity that browsers send by themselves. They hold for
	// both transports and for the CORS headers of polling. Scheme, host and port
	// are compared; `ws` is `http`, `wss` is `https`. Clients that are not
	// browsers send no origin and may connect. Default: `same`, the own one alone.
	Origins []string `json:"origins,omitempty"`

	// Connection state recovery. Default: none.
	Recovery *Recovery `json:"recovery,omitempty"`

	// What clients may use up.
	Limits *Limits `json:"limits,omitempty"`

	// The main namespace, `/`.
	Namespace

	// The other namespaces. An exact name wins over patterns; patterns are
	// tried in this order.
	Namespaces []*NamedNamespace `json:"namespaces,omitempty"`

	// Where it is in a Caddyfile, as `file:line`, which the Caddyfile adapter
	// notes; errors and warnings name it. Without it, what the adapter warns of
	// is said when the configuration loads. Default: none.
	Source string `json:"source,omitempty"`

	base       string // Path without the slash at its end
	origins    *engine.Origins
	instance   *instance
	generation *generation
	loaded     bool // a use of the instance is to be given back

	warnings []rules.Warning
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.realtime",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision builds what the configuration describes. It has no effect on a
// running hub: see App.Start. Its errors begin with where the handler is.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := h.provision(ctx); err != nil {
		return fmt.Errorf("%s: %w", h.title(), err)
	}
	return nil
}

func (h *Handler) provision(ctx caddy.Context) error {
	h.setDefaults()
	if err := cmp.Or(h.check(), h.Recovery.fits(h.Limits.orDefaults().Memory)); err != nil {
		return err
	}
	agreed, err := h.agreement() // before the modules' JSON is taken
	if err != nil {
		return err
	}
	if err := h.checkWriteTimeout(ctx); err != nil {
		return err
	}
	if h.origins, err = engine.ParseOrigins(h.Origins); err != nil {
		return fmt.Errorf("origins: %w", err)
	}
	if h.Source == "" {
		h.lintOrigins("origins")
	}
	warnOfClient(ctx, h.Client)
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	return h.joinHub(ctx, agreed)
}

// joinHub makes h one of the config's handlers of its hub. agreed is its
// agreement.
func (h *Handler) joinHub(ctx caddy.Context, agreed string) error {
	module, err := ctx.App("realtime")
	if err != nil {
		return err
	}
	app := module.(*App)
	app.see(ctx)
	h.generation, err = app.add(h, agreed, func() (*generation, error) { return h.build(ctx) })
	if err != nil {
		return err
	}
	if err := checkAmbient(h.generation.needs.ambient, h.Origins); err != nil {
		return err
	}
	h.logWarnings()
	h.instance, err = acquireInstance(h.Hub)
	if err != nil {
		return err
	}
	h.loaded = true
	h.generation.instance = h.instance
	return nil
}

func (h *Handler) setDefaults() {
	of := engine.Config{}.WithDefaults()
	h.Path = cmp.Or(h.Path, defaultPath)
	h.PingInterval = cmp.Or(h.PingInterval, caddy.Duration(of.PingInterval))
	h.PingTimeout = cmp.Or(h.PingTimeout, caddy.Duration(of.PingTimeout))
	h.MaxMessage = cmp.Or(h.MaxMessage, of.MaxPayload)
	if len(h.Origins) == 0 {
		h.Origins = []string{"same"}
	}
	h.base = strings.TrimRight(h.Path, "/")
}

// checkWriteTimeout refuses a server whose hard write timeout would cut every
// idle poll: a handler cannot lift it, and the client would see an empty
// answer.
func (h *Handler) checkWriteTimeout(ctx caddy.Context) error {
	const margin = 5 * time.Second
	srv, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if srv == nil || srv.WriteTimeout <= 0 || !h.transport("polling") {
		return nil
	}
	timeout, need := time.Duration(srv.WriteTimeout), time.Duration(h.PingInterval)+margin
	if timeout > need {
		return nil
	}
	return fmt.Errorf("the server's write timeout (servers { timeouts { write %s } }) would cut polls, which take up to the ping interval: "+
		"raise it above %s, shorten ping, or leave polling out of transports", timeout, need)
}

// Cleanup gives the hub back; whoever is the last closes it. Requests that
// came before a reload may still be in ServeHTTP.
func (h *Handler) Cleanup() error {
	if !h.loaded {
		return nil
	}
	h.loaded = false
	_, err := instances.Delete(h.Hub)
	return err
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
