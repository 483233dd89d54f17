package hub

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"
)

// Lister is what a Policy implements that knows the names of its events.
// Refusals are counted by them; other names, which clients choose, are not
// told apart.
type Lister interface {
	Events() []string
}

const otherEvents = "other"

var codes = [...]Code{UnknownEvent, Invalid, Forbidden, RateLimited, TooLarge, Limit, Busy, Timeout, UpstreamError, ProcessingError}

// RefusalStats is how often one event was refused with one code.
type RefusalStats struct {
	Event string // of the configuration, "connect", or "other"
	Code  Code
	Count uint64
}

// refusals counts refused events since the hub exists. What it has counted
// outlives the configuration whose event it was.
type refusals struct {
	byEvent atomic.Pointer[map[string]*byCode] // replaced, never changed
}

type byCode [len(codes)]atomic.Uint64

// know makes room for the events of a configuration. It must not be called
// concurrently.
func (r *refusals) know(namespaces []NamespaceConfig) {
	next := map[string]*byCode{"connect": {}, otherEvents: {}}
	for i := range namespaces {
		if l, ok := namespaces[i].Policy.(Lister); ok {
			for _, event := range l.Events() {
				next[event] = &byCode{}
			}
		}
	}
	if before := r.byEvent.Load(); before != nil {
		maps.Copy(next, *before)
	}
	r.byEvent.Store(&next)
}

func (r *refusals) add(event string, code Code) {
	all := *r.byEvent.Load()
	counts := all[event]
	if counts == nil {
		counts = all[otherEvents]
	}
	if i := slices.Index(codes[:], code); i >= 0 {
		counts[i].Add(1)
	} else {
		counts[slices.Index(codes[:], Invalid)].Add(1)
	}
}

// stats lists what was refused at least once.
func (r *refusals) stats() (list []RefusalStats, total uint64) {
	for event, counts := range *r.byEvent.Load() {
		for i := range counts {
			if n := counts[i].Load(); n > 0 {
				list = append(list, RefusalStats{event, codes[i], n})
				total += n
			}
		}
	}
	slices.SortFunc(list, func(a, b RefusalStats) int {
		return cmp.Or(cmp.Compare(a.Event, b.Event), cmp.Compare(a.Code, b.Code))
	})
	return list, total
}
