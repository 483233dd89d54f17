package hub

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
)

// Lister is what a Policy implements that knows the names of its events and the
// codes of its own with which it refuses. Refusals are counted by them; other
// names, which clients choose, are not told apart.
type Lister interface {
	Events() []string
	Codes() []Code
}

const otherEvents = "other"

var codes = []Code{UnknownEvent, Invalid, Forbidden, RateLimited, TooLarge, Limit, Busy, Timeout, UpstreamError, ProcessingError}

// Codes lists the codes with which the hub and its rules refuse.
func Codes() []Code { return slices.Clone(codes[:]) }

// RefusalStats is how often one event was refused with one code.
type RefusalStats struct {
	Event string // of the configuration, "connect", "disconnect" or "other"
	Code  Code
	Count uint64
}

// refusals counts refused events since the hub exists. What it has counted
// outlives the configuration whose event it was.
type refusals struct {
	counts atomic.Pointer[map[string]map[Code]*atomic.Uint64] // by event; replaced, never changed
}

// know makes room for the events and codes of a configuration. It must not be
// called concurrently.
func (r *refusals) know(namespaces []NamespaceConfig) {
	events, known := []string{"connect", "disconnect", otherEvents}, slices.Clone(codes)
	for i := range namespaces {
		if l, ok := namespaces[i].Policy.(Lister); ok {
			events = append(events, l.Events()...)
			known = append(known, l.Codes()...)
		}
	}
	next := map[string]map[Code]*atomic.Uint64{}
	if before := r.counts.Load(); before != nil {
		next = maps.Clone(*before)
	}
	for _, event := range events {
		counts := maps.Clone(next[event])
		if counts == nil {
			counts = map[Code]*atomic.Uint64{}
		}
		for _, code := range known {
			if counts[code] == nil {
				counts[code] = new(atomic.Uint64)
			}
		}
		next[event] = counts
	}
	r.counts.Store(&next)
}

func (r *refusals) add(event string, code Code) {
	all := *r.counts.Load()
	counts := all[event]
	if counts == nil {
		counts = all[otherEvents]
	}
	n := counts[code]
	if n == nil {
		n = counts[Invalid]
	}
	n.Add(1)
}

// refused counts a refusal and writes its line in the log.
func (s *Socket) refused(event string, r *Refusal) {
	s.ns.hub.refusals.add(event, r.Code)
	s.client().logRefusal(event, s.ns.name, s, r)
}

// maxReason bounds the text of a refusal in the log: a schema's message names
// what the client sent.
const maxReason = 256 // bytes

// logRefusal writes the line of a refused event or CONNECT: what was refused,
// why, by which line of the configuration, and who sent it. s is nil if there
// was no namespace to make a socket in. Nothing is prepared for a log that does
// not want it.
func (c *client) logRefusal(event, namespace string, s *Socket, r *Refusal) {
	ctx, log := context.Background(), c.hub.log()
	if !log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.String("event", strings.Clone(event)), // it may lie in the client's message
		slog.String("code", string(r.Code)),
		slog.String("reason", r.Message[:min(len(r.Message), maxReason)]),
	}
	if r.Rule != "" {
		attrs = append(attrs, slog.String("rule", r.Rule))
	}
	if r.Cause != nil {
		attrs = append(attrs, slog.Any("error", r.Cause))
	}
	if s != nil {
		attrs = append(attrs, slog.String("user_id", s.UserID()), slog.String("socket_id", s.id))
	}
	attrs = append(attrs, slog.String("namespace", namespace), slog.String("remote_ip", c.session.Handshake().RemoteIP))
	log.LogAttrs(ctx, slog.LevelDebug, "refused", attrs...)
}

// stats lists what was refused at least once.
func (r *refusals) stats() (list []RefusalStats, total uint64) {
	for event, counts := range *r.counts.Load() {
		for code, count := range counts {
			if n := count.Load(); n > 0 {
				list = append(list, RefusalStats{event, code, n})
				total += n
			}
		}
	}
	slices.SortFunc(list, func(a, b RefusalStats) int {
		return cmp.Or(cmp.Compare(a.Event, b.Event), cmp.Compare(a.Code, b.Code))
	})
	return list, total
}
