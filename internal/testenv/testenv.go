// Package testenv is what tests of several packages must know of the process
// that they run in.
package testenv

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// Main runs the tests and ends the process. It fails if a goroutine that runs
// code of one of the packages, named by the ends of their paths, is left ten
// seconds later.
func Main(m *testing.M, packages ...string) {
	code := m.Run()
	if left := goroutines(packages, 10*time.Second); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "leaked goroutines:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// goroutines returns the stacks of those that are left when the patience is.
func goroutines(packages []string, patience time.Duration) string {
	buf := make([]byte, 1<<20)
	for end := time.Now().Add(patience); ; {
		var left []string
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if slices.ContainsFunc(packages, func(p string) bool { return strings.Contains(g, p+".") }) {
				left = append(left, g)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return strings.Join(left, "\n\n")
		}
		runtime.Gosched()
	}
}
