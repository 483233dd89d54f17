package rules

import (
	"fmt"
	"reflect"
)

// The steps of the language. Each registers itself from its file, step_<name>.go.
var (
	actions     = map[string]func() Action{}
	actionNames = map[reflect.Type]string{}
)

// register adds a step, whose fields are those of the type that create makes.
func register(name string, create func() Action) {
	actions[name] = create
	actionNames[reflect.TypeOf(create())] = name
}

func newAction(name string) (Action, error) {
	create := actions[name]
	if create == nil {
		return nil, fmt.Errorf("unknown step %s%s", name, unknownStep(name))
	}
	return create(), nil
}

// actionName is the name of a step, "" if its type is not registered.
func actionName(a Action) string { return actionNames[reflect.TypeOf(a)] }
