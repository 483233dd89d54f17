//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what the operating system charges to a process.
type usage struct {
	cpu    time.Duration
	memory int64 // bytes, its share of what it shares (Pss)
}

const tick = 10 * time.Millisecond // of /proc on Linux

func readUsage(pid string) (usage, error) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return usage{}, err
	}
	// utime and stime are the 14th and 15th; the 2nd, in brackets, may have spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return usage{}, fmt.Errorf("unexpected /proc/%s/stat: %s", pid, stat)
	}
	memory, err := pss(pid)
	return usage{time.Duration(user+system) * tick, memory}, err
}

func pss(pid string) (int64, error) {
	maps, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no Pss in /proc/%s/smaps_rollup", pid)
}
