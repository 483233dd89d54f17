//go:build linux

package sample

import (
	"os"
	"strconv"
	"testing"
	"time"
)

func TestMeterReadsOwnProcess(t *testing.T) {
	m := NewMeter(strconv.Itoa(os.Getpid()))
	var u Usage
	for u.CPU == 0 { // each reading costs some
		var err error
		if u, err = m.Read(); err != nil {
			t.Fatal(err)
		}
	}
	if u.CPU%tick != 0 || u.Memory < 1<<20 {
		t.Errorf("a running test has used %+v", u)
	}
	if _, err := NewMeter("0").Read(); err == nil {
		t.Error("there is no process 0")
	}
}

func TestPercentilesOfKnownLatencies(t *testing.T) {
	var l Latencies
	if got := l.Percentile(.5); got != 0 {
		t.Errorf("nothing was added, but the median is %v", got)
	}
	for i := range 100 {
		l.Add(time.Duration(i) * time.Millisecond)
	}
	l.Add(time.Hour)
	l.Add(-time.Second)
	for p, want := range map[float64]float64{0: 0, .5: 50, .99: 99, 1 - 1e-9: 2000} {
		if got := l.Percentile(p); got != want {
			t.Errorf("percentile %v is %v ms, want %v", p, got, want)
		}
	}
	if l.Reset(); l.Percentile(.99) != 0 {
		t.Error("Reset has kept latencies")
	}
}
