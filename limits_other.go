//go:build !unix

package realtime

import "math"

// openFiles is how many files the process may open: nobody limits it here.
func openFiles() uint64 { return math.MaxUint64 }
