//go:build linux

// Package sample reads what a benchmark compares: the CPU time and memory of a
// server's process, and the latencies that its clients saw.
package sample

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what the operating system charges to a process.
type Usage struct {
	CPU    time.Duration // user and system time
	Memory int64         // bytes; shared pages count in part (Pss)
}

// Meter reads the usage of one process.
type Meter struct{ stat, maps string }

// NewMeter is for the process with that id.
func NewMeter(pid string) Meter {
	dir := "/proc/" + pid + "/"
	return Meter{stat: dir + "stat", maps: dir + "smaps_rollup"}
}

// Read reads the usage up to now.
func (m Meter) Read() (u Usage, err error) {
	if u.CPU, err = m.cpu(); err != nil {
		return Usage{}, err
	}
	u.Memory, err = m.memory()
	return u, err
}

// tick is the unit of times in /proc (proc_pid_stat(5)).
const tick = 10 * time.Millisecond

// cpu adds utime and stime, the 14th and 15th field. The 2nd is the program's
// name in brackets and may contain spaces, so the count starts after it.
func (m Meter) cpu() (time.Duration, error) {
	const utime, stime = 14 - 3, 15 - 3
	line, err := os.ReadFile(m.stat)
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	if len(fields) <= stime {
		return 0, fmt.Errorf("%s: unexpected %q", m.stat, line)
	}
	var ticks time.Duration
	for _, field := range []string{fields[utime], fields[stime]} {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", m.stat, err)
		}
		ticks += time.Duration(n)
	}
	return ticks * tick, nil
}

func (m Meter) memory() (int64, error) {
	text, err := os.ReadFile(m.maps)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			kB, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kB << 10, err
		}
	}
	return 0, fmt.Errorf("%s: no line Pss", m.maps)
}

// PerOperation is d in microseconds for each of n operations.
func PerOperation(d time.Duration, n int64) float64 {
	return float64(d.Nanoseconds()) / 1e3 / float64(n)
}
