//go:build race

package rules_test

// slowdown is what the race detector costs, for tests that measure time.
const slowdown = 20

const raceEnabled = true
