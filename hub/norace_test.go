//go:build !race

package hub_test

const raceEnabled = false

// crowd is how many clients the large tests have.
const crowd = 10_000
