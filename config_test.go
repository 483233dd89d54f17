package realtime

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestAutoConnectionsFitTheDescriptors(t *testing.T) {
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

func TestAutoMemoryIsHalfOfTheLimit(t *testing.T) {
	if got := autoMemory(512 << 20); got != 256<<20 {
		t.Errorf("got %d", got)
	}
	if got := autoMemory(math.MaxInt64); got != 1_000_000_000 {
		t.Errorf("without a limit: got %d", got)
	}
}

func TestLimitsThatAreOffDoNotLimit(t *testing.T) {
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

func TestNamespaceLimitsInJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"rooms": 7, "connections_per_user": -1}`: "",
		`{"outbox": 7}`:                 "outbox limits a connection",
		`{"accept": {"per_second": 1}}`: "accept limits the node",
		`{"sockets": 7}`:                "unknown field",
	} {
		var l NamespaceLimits
		err := json.Unmarshal([]byte(text), &l)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	rooms, perUser := (&NamespaceLimits{Rooms: -1, ConnectionsPerUser: -1}).inForce()
	if rooms < 1<<30 || perUser != 0 {
		t.Errorf("off: got %d rooms, %d connections", rooms, perUser)
	}
	// Each limit of the block is one of a namespace, too, or is refused there.
	fields := reflect.TypeFor[Limits]()
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		if err := checkOfNamespace(name); err == nil && name != "rooms" && name != "connections_per_user" {
			t.Errorf("%s is refused without a reason", name)
		}
	}
}

// What makes no sense in JSON is an error when it is loaded, as it is in a
// Caddyfile.
func TestSenselessJSONIsAnError(t *testing.T) {
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"namespaces": [null]}`:                                 "namespaces[0] is null",
		`{"use": ["rejoin", "rejoin"]}`:                          "preset rejoin is named twice",
		`{"path": "/socket.io/?token=x"}`:                        "taken literally",
		`{"limits": {"events": {"per_second": 5, "burst": -5}}}`: "limits: events: the burst must not be negative",
		`{"limits": {"fanout": {"burst": 5}}}`:                   "limits: fanout: a burst needs per_second",
		`{"ping_timeout": "25h"}`:                                "at most 24h",
	} {
		if _, err := ctx.LoadModuleByID("http.handlers.realtime", json.RawMessage(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
