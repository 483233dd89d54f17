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

// App is where a config goes live: Caddy starts it once all of the config
// proved valid. It has no settings and need not be named in a config; the
// handlers bring it in.
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

// Provision asks to be told when Caddy stops.
func (a *App) Provision(ctx caddy.Context) error {
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	return events.(*caddyevents.App).On("stopping", a)
}

// Handle closes the hubs when the process exits. It is called before any app
// is stopped: the http app's Stop waits for polls, and whether it runs before
// ours is chance.
func (a *App) Handle(context.Context, caddy.Event) error {
	if !caddy.Exiting() {
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

// Start makes this config's rules and settings the ones that the hubs go by.
// It has no way to fail: Caddy does not stop an app whose Start did.
func (a *App) Start() error {
	for _, server := range a.servers {
		logWarnings(lintRoutes(server.Routes))
	}
	for _, g := range a.generations {
		g.instance.push(g)
	}
	return nil
}

// Stop takes them back. After a reload the new config's are in force already
// and stay; if the new config failed to start, the old one's are again.
func (a *App) Stop() error {
	for _, g := range a.generations {
		g.instance.pop(g)
	}
	return nil
}

// Interface guards
var (
	_ caddy.App           = (*App)(nil)
	_ caddy.Provisioner   = (*App)(nil)
	_ caddyevents.Handler = (*App)(nil)
)
