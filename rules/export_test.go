package rules

import (
	"maps"
	"slices"
)

// Functions are the names of all functions that expressions can call, CEL's
// operators among them.
func Functions() []string {
	env, err := baseEnv()
	if err != nil {
		panic(err)
	}
	return slices.Sorted(maps.Keys(env.Functions()))
}
