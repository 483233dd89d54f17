package rules

import (
	"maps"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// The variable socket has a type, so that a field which no socket has is an
// error when the rules are compiled. Its value is JSON, as all others are.
var (
	socketType    = cel.ObjectType("realtime.socket")
	handshakeType = cel.ObjectType("realtime.handshake")
)

var socketFields = map[string]map[string]*types.Type{
	socketType.TypeName(): {
		"id":        cel.StringType,
		"rooms":     cel.ListType(cel.StringType),
		"data":      cel.DynType,
		"recovered": cel.BoolType,
		"handshake": handshakeType,
	},
	handshakeType.TypeName(): {
		"auth":    cel.DynType,
		"query":   cel.MapType(cel.StringType, cel.StringType),
		"headers": cel.MapType(cel.StringType, cel.StringType),
		"address": cel.StringType,
		"time":    cel.StringType,
		"issued":  cel.IntType,
		"url":     cel.StringType,
		"secure":  cel.BoolType,
		"xdomain": cel.BoolType,
	},
}

// socketTypes knows the types above, and those of the Provider.
type socketTypes struct{ types.Provider }

func (p socketTypes) FindStructType(name string) (*types.Type, bool) {
	if socketFields[name] != nil {
		return types.NewTypeTypeWithParam(cel.ObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

func (p socketTypes) FindStructFieldNames(name string) ([]string, bool) {
	if fields := socketFields[name]; fields != nil {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return p.Provider.FindStructFieldNames(name)
}

// FindStructFieldType has no way to read the field: expressions find JSON.
func (p socketTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if fields := socketFields[name]; fields != nil {
		t, ok := fields[field]
		return &types.FieldType{Type: t}, ok
	}
	return p.Provider.FindStructFieldType(name, field)
}
