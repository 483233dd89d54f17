package realtime

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-realtime/realtime/hub"
)

// metrics reads the figures of all hubs when it is asked. There is one for
// the process, registered anew with each config's registry, so that counters
// go on over reloads.
type metrics struct {
	sessions, sockets, namespaces, rooms, handshakes, exhausted, recoveries, closed, events, refused, panics *prometheus.Desc
	unread, generations                                                                                      *prometheus.Desc
	memory                                                                                                   *prometheus.Desc // of the process, not of one hub
}

var processMetrics = newMetrics()

func newMetrics() *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("caddy_realtime_"+name, help, append([]string{"hub"}, labels...), nil)
	}
	return &metrics{
		memory:      prometheus.NewDesc("caddy_realtime_memory_held_bytes", "What clients make the process hold.", []string{"use"}, nil),
		sessions:    desc("sessions", "Open connections.", "transport"),
		sockets:     desc("sockets", "Sockets in all namespaces."),
		namespaces:  desc("namespaces", "Namespaces that exist, those made by a pattern among them."),
		rooms:       desc("rooms", "Rooms in all namespaces, without those of one socket or user."),
		handshakes:  desc("handshakes_total", "First requests of clients.", "result"),
		exhausted:   desc("budget_exhausted_total", "Clients that a limit has refused or slowed.", "kind"),
		recoveries:  desc("recoveries_total", "Attempts to recover a socket.", "result"),
		unread:      desc("outbox_oldest_seconds", "Age of the oldest message that a client has not taken; it is watched where there is a backlog."),
		generations: desc("generations", "Configurations in force: 1, for a moment of a reload 2."),
		closed:      desc("sessions_closed_total", "Ended connections.", "reason"),
		events:      desc("events_total", "Events that clients sent."),
		refused:     desc("events_refused_total", "Events and CONNECTs that were refused.", "event", "code"),
		panics:      desc("panics_total", "Faults of ours that cost an event or a connection each."),
	}
}

func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	err := registry.Register(processMetrics)
	if errors.As(err, &prometheus.AlreadyRegisteredError{}) {
		return nil // by another handler of the same config
	}
	return err
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.sessions, m.sockets, m.namespaces, m.rooms, m.memory, m.handshakes, m.exhausted, m.recoveries, m.unread, m.generations, m.closed, m.events, m.refused, m.panics} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	processMemory.Each(func(use string, bytes int64) {
		m.gauge(ch, m.memory, float64(bytes), use)
	})
	// Not within Range: it holds the pool's lock, and ch may block.
	found := map[string]*instance{}
	instances.Range(func(name, i any) bool {
		found[name.(string)] = i.(*instance)
		return true
	})
	for name, i := range found {
		if h := i.hub.Load(); h != nil {
			m.collect(ch, name, h.Stats())
			m.gauge(ch, m.generations, float64(i.generations()), name)
		}
	}
}

func (m *metrics) gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (m *metrics) collect(ch chan<- prometheus.Metric, name string, s hub.Stats) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		m.gauge(ch, d, float64(v), append([]string{name}, labels...)...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{name}, labels...)...)
	}
	gauge(m.sessions, s.Engine.Polling, "polling")
	gauge(m.sessions, s.Engine.WebSocket, "websocket")
	sockets, rooms := 0, 0
	for _, n := range s.Namespaces {
		sockets += n.Sockets
		rooms += n.Rooms
	}
	gauge(m.sockets, sockets)
	gauge(m.namespaces, len(s.Namespaces))
	gauge(m.rooms, rooms)
	m.gauge(ch, m.unread, s.Engine.Unread.Seconds(), name)
	for result, n := range s.Engine.Handshakes {
		counter(m.handshakes, n, result)
	}
	for kind, n := range s.Exhausted {
		counter(m.exhausted, n, kind)
	}
	for result, n := range s.Recoveries {
		counter(m.recoveries, n, result)
	}
	for reason, n := range s.Engine.Closed {
		counter(m.closed, n, string(reason))
	}
	counter(m.events, s.Events)
	for _, r := range s.Refusals {
		counter(m.refused, r.Count, r.Event, string(r.Code))
	}
	counter(m.panics, s.Panics+s.Engine.Panics)
}
