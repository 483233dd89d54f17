//go:build !faults

package guard

// Fault is where a build with the tag faults panics if a test wants it. This
// one does nothing.
func Fault(place string) {}
