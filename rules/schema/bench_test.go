package schema_test

import (
	"strings"
	"testing"

	"github.com/caddy-realtime/realtime/rules/schema"
)

// A recursive oneOf whose alternatives differ deep within: 2^10 of them fail.
func BenchmarkAlternativesThatFail(b *testing.B) {
	const node = `{"properties": {"op": {"properties": {"name": {"const": "%"}}}, "of": {"items": {"$ref": "#/$defs/node"}}}}`
	s, err := schema.Parse([]byte(`{"$defs": {"node": {"oneOf": [` +
		strings.ReplaceAll(node, "%", "and") + "," + strings.ReplaceAll(node, "%", "or") + `]}}, "$ref": "#/$defs/node"}`))
	if err != nil {
		b.Fatal(err)
	}
	value := []byte(strings.Repeat(`{"of":[`, 10) + strings.Repeat(`],"op":{"name":"not"}}`, 10))
	b.ReportAllocs()
	for b.Loop() {
		if s.Validate(value, nil, func() bool { return true }) == nil {
			b.Fatal("valid")
		}
	}
}
