// Package guard keeps account of panics that were recovered, and has a place
// for tests to cause them.
//
// A panic may cost what it happened in: a call, a session. It must not cost
// others theirs, nor the process. So every goroutine and every timer callback
// begins with a guard of its package, which recovers, notes the panic here and
// closes what was served. The tests of this package find those that do not.
package guard

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	quiet     = time.Minute // between two panics of one place that are logged
	stackSize = 4 << 10     // bytes of a stack that are logged
)

// Panics counts panics. Its zero value has counted none; it is safe for
// concurrent use.
type Panics struct {
	count atomic.Uint64

	mu     sync.Mutex
	logged map[string]time.Time // by place; guarded by mu
}

// Count is how many there were.
func (p *Panics) Count() uint64 { return p.count.Load() }

// Note counts a panic and logs it with its stack and attrs, once a minute for
// each place. It is called while the panic is recovered. Places are fixed
// words of the code.
func (p *Panics) Note(log *slog.Logger, place string, cause any, attrs ...any) {
	p.count.Add(1)
	if !p.due(place) {
		return
	}
	stack := make([]byte, stackSize)
	stack = stack[:runtime.Stack(stack, false)]
	log.Error("panic", append([]any{"place", place, "panic", fmt.Sprint(cause), "stack", string(stack)}, attrs...)...)
}

func (p *Panics) due(place string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, ok := p.logged[place]; ok && time.Since(last) < quiet {
		return false
	}
	if p.logged == nil {
		p.logged = map[string]time.Time{}
	}
	p.logged[place] = time.Now()
	return true
}
