package realtime

import (
	"context"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(App{})
}

// App is where a config goes live. It has no settings and need not be named in
// a config; the handlers bring it in.
type App struct {
	// Static after the handlers were provisioned.
	generations []*generation
	servers     []*caddyhttp.Server // which have our handlers
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "realtime",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision subscribes to the event that Caddy emits before it stops a config.
func (a *App) Provision(ctx caddy.Context) error {
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	return events.(*caddyevents.App).On("stopping", a)
}

// Handle takes this config's generations out of force, or closes the hubs if
// the process exits. Caddy emits the event before it stops any app. Stop may
// come late: Caddy stops apps in random order, and the http app's Stop waits for
// its shutdown delay and, on exit, for polls.
func (a *App) Handle(_ context.Context, e caddy.Event) error {
	if e.Origin() != nil { // another module's event of that name
		return nil
	}
	if !caddy.Exiting() {
		a.stopAll()
		return nil
	}
	for _, g := range a.generations {
		g.instance.close()
	}
	return nil
}

// add returns the generation that handler h is part of, made by build if h is
// the first of its hub in this config.
func (a *App) add(h *Handler, agreed string, build func() (*generation, error)) (*generation, error) {
	i := slices.IndexFunc(a.generations, func(g *generation) bool { return g.hub == h.Hub })
	if i >= 0 {
		return a.generations[i], a.generations[i].admit(h, agreed)
	}
	g, err := build()
	if err != nil {
		return nil, err
	}
	g.hub, g.agreed, g.path, g.origins = h.Hub, agreed, h.Path, h.Origins
	a.generations = append(a.generations, g)
	return g, nil
}

// see notes the server that a handler is being provisioned for.
func (a *App) see(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if ok && !slices.Contains(a.servers, server) {
		a.servers = append(a.servers, server)
	}
}

// Start makes this config's rules and settings the ones that the hubs go by, as
// soon as the config before it is stopped. Until then the apps of this config
// may still fail to start, and what the hubs would do cannot be undone: they
// disconnect the sockets of namespaces that the config does not have, and forget
// lost ones. Start cannot fail: Caddy does not stop an app whose Start did.
func (a *App) Start() error {
	for _, server := range a.servers {
		logWarnings(lintRoutes(server.Routes))
	}
	for _, g := range a.generations {
		g.instance.start(g)
	}
	return nil
}

// Stop takes them back, unless Handle has.
func (a *App) Stop() error {
	a.stopAll()
	return nil
}

// Cleanup does the same for a config that fails after its apps have started,
// which Caddy does not stop.
func (a *App) Cleanup() error {
	a.stopAll()
	return nil
}

func (a *App) stopAll() {
	for _, g := range a.generations {
		if g.instance != nil { // nil: provisioning failed halfway
			g.instance.stop(g)
		}
	}
}

// Interface guards
var (
	_ caddy.App           = (*App)(nil)
	_ caddy.Provisioner   = (*App)(nil)
	_ caddy.CleanerUpper  = (*App)(nil)
	_ caddyevents.Handler = (*App)(nil)
)
