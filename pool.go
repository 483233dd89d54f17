package realtime

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
)

// instances holds what outlives configs: hub name → *instance.
var instances = caddy.NewUsagePool()

// processMemory counts what the clients of all hubs make the process hold.
var processMemory budget.Memory

// A generation is what one config says about one hub. It is immutable once
// the config is provisioned.
type generation struct {
	hub      string
	config   hub.Config
	needs    credentialSpec // of the requests that open sessions
	access   accessLogger
	instance *instance

	// For comparing with further handlers of the same hub.
	agreed  string
	path    string
	origins []string
}

// admit checks whether h may share the generation's hub. agreed is h's
// agreement.
func (g *generation) admit(h *Handler, agreed string) error {
	if g.hub == "" && (agreed != g.agreed || h.Path != g.path || !slices.Equal(h.Origins, g.origins)) {
		// Equal ones are one block of a Caddyfile on several servers.
		return errors.New("a second realtime handler without a hub name: name the hubs, the same to share sockets and rooms, others to keep them apart")
	}
	if agreed != g.agreed {
		return fmt.Errorf("two realtime handlers of hub %q differ in more than path and origins", g.hub)
	}
	return nil
}

// An instance is one hub for as long as any config has it, and the generations
// of the started configs. While a config replaces another there are two: the
// older one stays in force until Caddy stops its config, because only then is
// the newer config sure to live. A config that fails to start has no effect on
// the hub.
type instance struct {
	hub      atomic.Pointer[hub.Hub]    // nil until the first start or request; never replaced
	exempted atomic.Bool                // the warning of exempt addresses was given
	inForce  atomic.Pointer[generation] // nil before the first start or request, and after the last

	mu     sync.Mutex
	live   []*generation // the first is in force; guarded by mu
	closed bool          // guarded by mu
}

// acquireInstance returns the instance for a hub name. The caller owes an
// instances.Delete(name).
func acquireInstance(name string) (*instance, error) {
	v, _, err := instances.LoadOrNew(name, func() (caddy.Destructor, error) { return new(instance), nil })
	if err != nil {
		return nil, err
	}
	return v.(*instance), nil
}

// start puts g in force, or has it wait for the generation that is.
func (i *instance) start(g *generation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.live = append(i.live, g)
	if len(i.live) == 1 {
		i.applyLocked(g)
	}
}

// stop removes g. If g was in force, the next generation is from now on;
// without one the hub stays as it is until the pool lets go of it. Further calls
// do nothing.
func (i *instance) stop(g *generation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := slices.Index(i.live, g)
	if at < 0 {
		return
	}
	i.live = slices.Delete(i.live, at, at+1)
	switch {
	case at > 0:
	case len(i.live) > 0:
		i.applyLocked(i.live[0])
	default:
		i.inForce.Store(nil)
	}
}

// generations counts those in force and waiting.
func (i *instance) generations() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.live)
}

// accessLogger is that of the config in force, whether or not it has the hub;
// nil if there is none.
func (i *instance) accessLogger() accessLogger {
	if g := i.inForce.Load(); g != nil {
		return g.access
	}
	if ctx := caddy.ActiveContext(); ctx.Context != nil {
		return newAccessLogger(ctx)
	}
	return nil
}

// applyLocked makes the hub, or changes what it works by. Doing so under the
// lock is safe: nothing below calls back, and only config changes take it.
func (i *instance) applyLocked(g *generation) {
	i.inForce.Store(g)
	if h := i.hub.Load(); h != nil {
		h.Update(g.config)
		return
	}
	c := g.config
	c.Engine.UsedMemory = &processMemory
	i.hub.Store(hub.New(c))
}

// hubFor is the hub that serves a request which came to a handler of g, or nil if
// it is closed. g counts only if the hub does not exist yet: at the first start,
// requests may come before App.Start.
func (i *instance) hubFor(g *generation) *hub.Hub {
	if h := i.hub.Load(); h != nil {
		return h
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	if i.hub.Load() == nil {
		i.applyLocked(g)
	}
	return i.hub.Load()
}

// close ends all sessions for a moment's reason, so that clients try again.
// It blocks until their policies were told.
func (i *instance) close() {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	if h := i.hub.Load(); h != nil {
		h.Close()
	}
}

// Destruct is called by the pool when no config has the hub any more. Its
// clients are disconnected for good, unless it is the process that ends.
func (i *instance) Destruct() error {
	if h := i.hub.Load(); h != nil && !caddy.Exiting() {
		h.Update(hub.Config{})
	}
	i.close()
	return nil
}
