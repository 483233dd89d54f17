package realtime

import (
	"math"
	"testing"
)

func TestAutoConnections(t *testing.T) {
	for files, want := range map[uint64]int{
		256:            100,
		1024:           319,
		2000:           1100,
		20_000:         15_500,
		63_125:         50_000,
		1 << 20:        50_000,
		math.MaxUint64: 50_000, // unlimited
	} {
		if got := autoConnections(files); got != want {
			t.Errorf("%d files: got %d, want %d", files, got, want)
		}
	}
}

func TestAutoMemory(t *testing.T) {
	if got := autoMemory(512 << 20); got != 256<<20 {
		t.Errorf("got %d", got)
	}
	if got := autoMemory(math.MaxInt64); got != 1_000_000_000 {
		t.Errorf("without a limit: got %d", got)
	}
}

func TestLimitsOff(t *testing.T) {
	off := (&Limits{Connections: -1, Rooms: -1, Outbox: -1, Handshake: -1}).orDefaults()
	for name, r := range map[string]Rate{"accept": {PerSecond: -1}, "bytes": {PerSecond: -1, Burst: 5}} {
		if !r.budget().Off() {
			t.Errorf("%s is not off", name)
		}
	}
	if off.Connections != 0 { // no limit, in the engine's terms
		t.Errorf("connections: got %d", off.Connections)
	}
	if off.Rooms < 1<<30 || off.Outbox < 1<<40 || off.Handshake <= 0 {
		t.Errorf("got %+v", off)
	}
	var none *Limits
	if auto := none.orDefaults(); auto.Connections < 100 || auto.Connections > 50_000 {
		t.Errorf("auto: got %d connections", auto.Connections)
	}
}
