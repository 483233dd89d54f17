package realtime

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-realtime/realtime/hub"
)

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

// hubMetrics are the metrics of each hub. A further one is a row here and one in
// docs/metrics.md. Labels come from fixed lists and from the config, never from
// clients.
var hubMetrics = []hubMetric{
	{"sessions", "Open connections.", gauge, []string{"transport"}, func(s *hubState, add add) {
		add(float64(s.Engine.Polling), "polling")
		add(float64(s.Engine.WebSocket), "websocket")
	}},
	{"sockets", "Sockets in all namespaces.", gauge, nil, func(s *hubState, add add) {
		sockets := 0
		for _, n := range s.Namespaces {
			sockets += n.Sockets
		}
		add(float64(sockets))
	}},
	{"namespaces", "Namespaces that exist, including those made by a pattern.", gauge, nil, func(s *hubState, add add) {
		add(float64(len(s.Namespaces)))
	}},
	{"rooms", "Rooms in all namespaces, without those of one socket or user.", gauge, nil, func(s *hubState, add add) {
		rooms := 0
		for _, n := range s.Namespaces {
			rooms += n.Rooms
		}
		add(float64(rooms))
	}},
	{"handshakes_total", "First requests of clients.", counter, []string{"result"}, func(s *hubState, add add) {
		each(s.Engine.Handshakes, add)
	}},
	{"sessions_closed_total", "Ended connections.", counter, []string{"reason"}, func(s *hubState, add add) {
		each(s.Engine.Closed, add)
	}},
	{"events_total", "Events that clients sent.", counter, nil, func(s *hubState, add add) {
		add(float64(s.Events))
	}},
	{"events_refused_total", "Refused events and CONNECTs.", counter, []string{"event", "code"}, func(s *hubState, add add) {
		for _, r := range s.Refusals {
			add(float64(r.Count), r.Event, string(r.Code))
		}
	}},
	{"budget_exhausted_total", "Clients that a limit has refused or slowed.", counter, []string{"kind"}, func(s *hubState, add add) {
		each(s.Exhausted, add)
	}},
	{"recoveries_total", "Attempts to recover a socket.", counter, []string{"result"}, func(s *hubState, add add) {
		each(s.Recoveries, add)
	}},
	{"outbox_oldest_seconds", "Age of the oldest message in any backlog.", gauge, nil, func(s *hubState, add add) {
		add(s.Engine.Unread.Seconds())
	}},
	{"generations", "Configurations in force: 1, and 2 for a moment of a reload.", gauge, nil, func(s *hubState, add add) {
		add(float64(s.generations))
	}},
	{"panics_total", "Recovered panics. Each has cost an event or a connection.", counter, nil, func(s *hubState, add add) {
		add(float64(s.Panics + s.Engine.Panics))
	}},
}

// hubMetric is a metric that is read from the state of a hub. Its first label is
// the hub's name.
type hubMetric struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	read       func(*hubState, add)
}

type hubState struct {
	hub.Stats
	generations int
}

// add adds a value with the values of the labels.
type add func(v float64, labels ...string)

// each adds the values of a map whose keys are the one label.
func each[K ~string](values map[K]uint64, add add) {
	for label, v := range values {
		add(float64(v), string(label))
	}
}

// metrics reads the figures of all hubs when it is asked. There is one for the
// process, registered anew with each config's registry, so that counters go on
// over reloads.
type metrics struct {
	hubs   []*prometheus.Desc // of hubMetrics
	memory *prometheus.Desc   // of the process, not of one hub
}

var processMetrics = newMetrics()

func newMetrics() *metrics {
	m := &metrics{memory: describe("memory_held_bytes", "Bytes held for clients.", "use")}
	for _, h := range hubMetrics {
		m.hubs = append(m.hubs, describe(h.name, h.help, append([]string{"hub"}, h.labels...)...))
	}
	return m
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_realtime_"+name, help, labels, nil)
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
	ch <- m.memory
	for _, d := range m.hubs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	processMemory.Each(func(use string, bytes int64) {
		ch <- prometheus.MustNewConstMetric(m.memory, gauge, float64(bytes), use)
	})
	// Not within Range: it holds the pool's lock, and ch may block.
	found := map[string]*instance{}
	instances.Range(func(name, i any) bool {
		found[name.(string)] = i.(*instance)
		return true
	})
	for name, i := range found {
		if h := i.hub.Load(); h != nil {
			m.collect(ch, name, &hubState{h.Stats(), i.generations()})
		}
	}
}

func (m *metrics) collect(ch chan<- prometheus.Metric, hub string, s *hubState) {
	for i, metric := range hubMetrics {
		metric.read(s, func(v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(m.hubs[i], metric.kind, v, append([]string{hub}, labels...)...)
		})
	}
}
