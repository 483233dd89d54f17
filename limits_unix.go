//go:build unix

package realtime

import (
	"math"
	"syscall"
)

// openFiles is how many files the process may open. The Go runtime raised the
// soft limit to the hard one at its start.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64
	}
	return uint64(limit.Cur) // int64 on some systems
}
