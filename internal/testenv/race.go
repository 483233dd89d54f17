//go:build race

package testenv

// Race reports whether the race detector is on. Slowdown is about what it
// costs, for tests that measure time or want many clients.
const (
	Race     = true
	Slowdown = 20
)
