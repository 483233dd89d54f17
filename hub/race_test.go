//go:build race

package hub_test

const raceEnabled = true

// crowd is how many clients the large tests have.
const crowd = 1000
