//go:build faults

package guard

import "sync/atomic"

type fault struct {
	place string
	fired chan struct{}
}

var armed atomic.Pointer[fault]

// Fault panics, once, if Arm has named the place. It comes right after the
// guard of that place.
func Fault(place string) {
	if f := armed.Load(); f != nil && f.place == place && armed.CompareAndSwap(f, nil) {
		close(f.fired)
		panic("injected at " + place)
	}
}

// Arm has whoever comes to the place next panic; fired is closed then. One
// place is armed at a time.
func Arm(place string) (fired <-chan struct{}) {
	f := &fault{place, make(chan struct{})}
	armed.Store(f)
	return f.fired
}
