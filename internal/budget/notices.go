package budget

import (
	"maps"
	"sync"
	"time"
)

const (
	noticeEvery = time.Hour // between two notices of one cause
	maxNotices  = 32        // causes that are noticed in that time
)

// Notices says when a warning that clients can cause is due: once an hour for
// each cause, and for at most 32 causes in an hour, so that a flood of causes
// does not flood a log. The zero value is ready; it is safe for concurrent use.
type Notices struct {
	mu   sync.Mutex
	last map[string]time.Duration // by cause; guarded by mu
}

// Due reports whether a notice of the cause is due, which the caller then gives.
// The caller bounds the length of a cause.
func (n *Notices) Due(cause string, now time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.last, func(_ string, at time.Duration) bool { return now-at >= noticeEvery })
	if _, given := n.last[cause]; given || len(n.last) >= maxNotices {
		return false
	}
	if n.last == nil {
		n.last = map[string]time.Duration{}
	}
	n.last[cause] = now
	return true
}
