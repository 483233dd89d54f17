package realtime

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// NamespaceLimits bound what clients may use up in one namespace. A negative
// value means no limit.
type NamespaceLimits struct {
	// The number of open connections of one user that may be in the namespace,
	// beside the handler's limit of all that the user has. One that owes an
	// answer to a ping gives way to a new one; else the new one is refused as by
	// the handler's limit. Default: no limit of its own.
	ConnectionsPerUser int `json:"connections_per_user,omitempty"`

	// The number of rooms that one socket may be in. Default: the handler's.
	Rooms int `json:"rooms,omitempty"`
}

// notOfNamespaces are the other limits, and what they are limits of.
var notOfNamespaces = map[string]string{
	"connections":        "the node",
	"connections_per_ip": "an address",
	"connect_rate":       "an address",
	"accept":             "the node",
	"events":             "a connection",
	"bytes":              "a connection",
	"cpu":                "a connection",
	"fanout":             "a connection",
	"outbox":             "a connection",
	"handshake":          "a connection",
	"memory":             "the node",
}

func checkOfNamespace(name string) error {
	if whose, ok := notOfNamespaces[name]; ok {
		return fmt.Errorf("limits: %s limits %s in all namespaces together; move it to the limits of the realtime block", name, whose)
	}
	return nil
}

// UnmarshalJSON refuses what is no limit of a namespace, and says why.
func (l *NamespaceLimits) UnmarshalJSON(data []byte) error {
	var given map[string]json.RawMessage
	if err := json.Unmarshal(data, &given); err != nil {
		return err
	}
	for name := range given {
		if err := checkOfNamespace(name); err != nil {
			return err
		}
	}
	type plain NamespaceLimits // without this method
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode((*plain)(l))
}

func (l *NamespaceLimits) unmarshalOption(d *caddyfile.Dispenser) error {
	if err := checkOfNamespace(d.Val()); err != nil {
		return d.WrapErr(err)
	}
	return namespaceLimitOptions.read("limits", l, d)
}

// namespaceLimitOptions are the limits of a namespace block.
var namespaceLimitOptions = options[*NamespaceLimits]{
	"connections_per_user": limit(func(l *NamespaceLimits) *int { return &l.ConnectionsPerUser }, count),
	"rooms":                limit(func(l *NamespaceLimits) *int { return &l.Rooms }, count),
}

// inForce returns the limits in the hub's terms. l may be nil.
func (l *NamespaceLimits) inForce() (rooms, connectionsPerUser int) {
	if l == nil {
		return 0, 0
	}
	rooms = l.Rooms
	if rooms < 0 {
		rooms = math.MaxInt
	}
	return rooms, max(l.ConnectionsPerUser, 0)
}
