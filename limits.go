package realtime

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/realtime/internal/budget"
)

// Limits bound what clients may use up. A negative value means no limit. What
// is beyond a limit is refused in a way that lets the client try again, unless
// the limit says otherwise.
//
// Limits per address count an IPv6 network of 64 bits as one address. Clients
// with a private, loopback or no address are exempt from them: that is what a
// proxy in front looks like that `trusted_proxies` of the server does not name.
type Limits struct {
	// The number of open connections. Default: 80 % of the process's limit of
	// open files, less 500, at least 100 and at most 50000.
	Connections int `json:"connections,omitempty"`

	// The number of open connections of one address. Default: 1000.
	ConnectionsPerIP int `json:"connections_per_ip,omitempty"`

	// The connections that one address may open. Default: 100 a second.
	ConnectRate Rate `json:"connect_rate,omitzero"`

	// The connections that may be opened in all, on this node: after a restart
	// everybody comes at once. Default: 1000 a second.
	Accept Rate `json:"accept,omitzero"`

	// The number of open connections of one user, whatever their namespaces.
	// One that owes an answer to a ping gives way to a new one; else the new
	// one is refused for good: connect_error "Too many connections", whose data
	// is {"code": "LIMIT"}. Default: 20.
	ConnectionsPerUser int `json:"connections_per_user,omitempty"`

	// The packets that one connection may send: events, acknowledgements,
	// CONNECTs; an event whose rule joins several rooms counts for each. A
	// connection that is beyond this limit, or one of the next three, is slowed:
	// its next message is read when the limit allows it. Nothing is lost or
	// refused, and what others send reaches the client as always. All connections
	// of a user together, or of the anonymous ones of an address, may use ten
	// times as much. Default: 100 a second, burst 200.
	Events Rate `json:"events,omitzero"`

	// The bytes that are read from one connection. Default: 256000 a second,
	// burst 4000000.
	Bytes Rate `json:"bytes,omitzero"`

	// The time that rules and schemas may take for the events of one connection.
	// Default: 20ms a second, burst 500ms.
	CPU TimeRate `json:"cpu,omitzero"`

	// The bytes that the events of one connection may cause to be sent, to all
	// receivers together. Default: 20000000 a second, burst 100000000.
	Fanout Rate `json:"fanout,omitzero"`

	// The number of rooms one socket may be in. Default: 128.
	Rooms int `json:"rooms,omitempty"`

	// The bytes that may wait for one client to read them. One message always
	// may, of any size. Beyond, the client is disconnected as a slow consumer.
	// Default: 4000000.
	Outbox int `json:"outbox,omitempty"`

	// The bytes that clients together may make the process hold: messages that
	// they have not taken, input that is not complete, events that wait,
	// handshakes, rooms and data of sockets, batches, answers that dedupe keeps,
	// presence and its announcements, and what is kept for recovery, which is
	// forgotten from 70 % on. Near it, from 80 % on, new connections are refused
	// and volatile events are dropped; beyond it, the clients that have left most
	// unread are disconnected as slow consumers; the rest goes as its own limits
	// and times have it. It is compared with what all hubs hold.
	// Default: half of the process's memory limit (GOMEMLIMIT), which Caddy sets
	// to 90 % of what its container or machine has; without one, 1 GB.
	Memory int `json:"memory,omitempty"`

	// The time a client has to join its first namespace. A client may ask its user
	// for credentials meanwhile. Default: 45s.
	Handshake caddy.Duration `json:"handshake,omitempty"`
}

// Rate is an allowance that comes back with time.
type Rate struct {
	// How much comes back in a second. Negative: no limit.
	PerSecond int `json:"per_second"`

	// How much may be saved. Default: what comes back in a second.
	Burst int `json:"burst,omitempty"`
}

// TimeRate is an allowance of time that comes back.
type TimeRate struct {
	// How much comes back in a second. Negative: no limit.
	PerSecond caddy.Duration `json:"per_second"`

	// How much may be saved. Default: what comes back in a second.
	Burst caddy.Duration `json:"burst,omitempty"`
}

// inNanoseconds is the same as a Rate.
func (r TimeRate) inNanoseconds() Rate { return Rate{int(r.PerSecond), int(r.Burst)} }

func (r Rate) check() error {
	switch {
	case r.Burst < 0:
		return errors.New("the burst must not be negative")
	case r.Burst > 0 && r.PerSecond == 0:
		return errors.New("a burst needs per_second")
	}
	return nil
}

func (r Rate) or(d Rate) Rate {
	if r.PerSecond == 0 {
		return d
	}
	return r
}

func (r Rate) budget() budget.Rate {
	if r.PerSecond < 0 {
		return budget.Rate{}
	}
	return budget.Rate{PerSecond: float64(r.PerSecond), Burst: float64(cmp.Or(r.Burst, r.PerSecond))}
}

// check finds what only JSON can say. l may be nil.
func (l *Limits) check() error {
	if l == nil {
		return nil
	}
	for _, rate := range []struct {
		name string
		Rate
	}{
		{"connect_rate", l.ConnectRate}, {"accept", l.Accept}, {"events", l.Events}, {"bytes", l.Bytes},
		{"cpu", l.CPU.inNanoseconds()}, {"fanout", l.Fanout},
	} {
		if err := rate.check(); err != nil {
			return fmt.Errorf("limits: %s: %w", rate.name, err)
		}
	}
	return nil
}

// orDefaults returns the limits in the engine's and the hub's terms.
func (l *Limits) orDefaults() Limits {
	var c Limits
	if l != nil {
		c = *l
	}
	if c.Connections == 0 {
		c.Connections = autoConnections(openFiles())
	}
	c.Connections = max(c.Connections, 0)
	c.ConnectionsPerIP = max(cmp.Or(c.ConnectionsPerIP, 1000), 0)
	c.ConnectRate = c.ConnectRate.or(Rate{PerSecond: 100})
	c.Accept = c.Accept.or(Rate{PerSecond: 1000})
	c.ConnectionsPerUser = max(cmp.Or(c.ConnectionsPerUser, 20), 0)
	c.Events = c.Events.or(Rate{PerSecond: 100, Burst: 200})
	c.Bytes = c.Bytes.or(Rate{PerSecond: 256_000, Burst: 4_000_000})
	if c.CPU.PerSecond == 0 {
		c.CPU = TimeRate{PerSecond: caddy.Duration(20 * time.Millisecond), Burst: caddy.Duration(500 * time.Millisecond)}
	}
	c.Fanout = c.Fanout.or(Rate{PerSecond: 20_000_000, Burst: 100_000_000})
	if c.Rooms < 0 {
		c.Rooms = math.MaxInt
	}
	if c.Outbox < 0 {
		c.Outbox = math.MaxInt / 2 // leaves room for adding to it
	}
	if c.Memory == 0 {
		c.Memory = autoMemory(debug.SetMemoryLimit(-1))
	}
	c.Memory = max(c.Memory, 0)
	if c.Handshake < 0 {
		c.Handshake = caddy.Duration(10 * 365 * 24 * time.Hour)
	}
	return c
}

// rates are the allowances of one connection.
func (l *Limits) rates() budget.Rates {
	return budget.Rates{
		budget.Events: l.Events.budget(),
		budget.Bytes:  l.Bytes.budget(),
		budget.CPU:    l.CPU.inNanoseconds().budget(),
		budget.Fanout: l.Fanout.budget(),
	}
}

// autoConnections leaves files for the rest of the server: proxied requests,
// certificates, logs.
func autoConnections(files uint64) int {
	const most, least = 50_000, 100
	if files > 2*most {
		return most
	}
	return min(max(int(files)*8/10-500, least), most)
}

// autoMemory leaves half of the process's memory limit for everything else and
// for the garbage collector's delay.
func autoMemory(limit int64) int {
	if limit == math.MaxInt64 { // none
		return 1_000_000_000
	}
	return int(limit / 2)
}

// unmarshalLimits reads a block of limits, each of its lines with option.
func unmarshalLimits(d *caddyfile.Dispenser, option func(*caddyfile.Dispenser) error) error {
	if d.NextArg() {
		return d.Errf("limits: each limit is on a line of its own, in braces: limits { … }")
	}
	return block(d, option)
}

func (l *Limits) unmarshalOption(d *caddyfile.Dispenser) error {
	return limitOptions.read("limits", l, d)
}

// limitOptions are the limits of a realtime block.
var limitOptions = options[*Limits]{
	"connections":          limit(func(l *Limits) *int { return &l.Connections }, autoOr(count)),
	"connections_per_ip":   limit(func(l *Limits) *int { return &l.ConnectionsPerIP }, count),
	"connections_per_user": limit(func(l *Limits) *int { return &l.ConnectionsPerUser }, count),
	"connect_rate":         rateLimit(func(l *Limits) *Rate { return &l.ConnectRate }, positive),
	"accept":               rateLimit(func(l *Limits) *Rate { return &l.Accept }, positive),
	"events":               rateLimit(func(l *Limits) *Rate { return &l.Events }, positive),
	"bytes":                rateLimit(func(l *Limits) *Rate { return &l.Bytes }, size),
	"cpu":                  (*Limits).unmarshalCPU,
	"fanout":               rateLimit(func(l *Limits) *Rate { return &l.Fanout }, size),
	"rooms":                limit(func(l *Limits) *int { return &l.Rooms }, count),
	"outbox":               limit(func(l *Limits) *int { return &l.Outbox }, sizeOrOff),
	"memory":               limit(func(l *Limits) *int { return &l.Memory }, autoOr(sizeOrOff)),
	"handshake":            limit(func(l *Limits) *caddy.Duration { return &l.Handshake }, durationOrOff),
}

// limit reads an option with one argument, the value of the field given.
func limit[T, V any](field func(T) *V, parse func(string) (V, error)) func(T, *caddyfile.Dispenser) error {
	return func(to T, d *caddyfile.Dispenser) error {
		name := d.Val()
		var arg string
		err := oneArg(d, &arg)
		if err != nil {
			return err
		}
		if *field(to), err = parse(arg); err != nil {
			return d.Errf("limits: %s: %w", name, err)
		}
		return nil
	}
}

func rateLimit(field func(*Limits) *Rate, amount func(string) (int, error)) func(*Limits, *caddyfile.Dispenser) error {
	return func(to *Limits, d *caddyfile.Dispenser) (err error) {
		name := d.Val()
		if *field(to), err = rateArgs(d.RemainingArgs(), amount); err != nil {
			return d.Errf("limits: %s: %w", name, err)
		}
		return nil
	}
}

func (l *Limits) unmarshalCPU(d *caddyfile.Dispenser) error {
	r, err := rateArgs(d.RemainingArgs(), nanoseconds)
	if err != nil {
		return d.Errf("limits: cpu: %w", err)
	}
	l.CPU = TimeRate{caddy.Duration(r.PerSecond), caddy.Duration(r.Burst)}
	return nil
}

// autoOr takes auto for the default.
func autoOr(parse func(string) (int, error)) func(string) (int, error) {
	return func(s string) (int, error) {
		if s == "auto" {
			return 0, nil
		}
		return parse(s)
	}
}
