package rules

import (
	"fmt"
	"reflect"
)

// actions is the table of all steps. A new step is a type and a line here.
var actions = map[string]func() Action{
	"ack":        func() Action { return new(Ack) },
	"appear":     func() Action { return new(Appear) },
	"ask":        func() Action { return new(Ask) },
	"batch":      func() Action { return new(Batch) },
	"broadcast":  func() Action { return new(Broadcast) },
	"dedupe":     func() Action { return new(Dedupe) },
	"disconnect": func() Action { return new(Disconnect) },
	"emit":       func() Action { return new(Emit) },
	"if":         func() Action { return new(If) },
	"ignore":     func() Action { return new(Ignore) },
	"join":       func() Action { return new(Join) },
	"leave":      func() Action { return new(Leave) },
	"let":        func() Action { return new(Let) },
	"log":        func() Action { return new(Log) },
	"rate":       func() Action { return new(Rate) },
	"require":    func() Action { return new(Require) },
	"schema":     func() Action { return new(Schema) },
	"set":        func() Action { return new(SetData) },
	"typing":     func() Action { return new(Typing) },
}

func newAction(name string) (Action, error) {
	create := actions[name]
	if create == nil {
		return nil, fmt.Errorf("unknown step %s%s", name, unknownStep(name))
	}
	return create(), nil
}

// actionName is the key of a's type in the table, "" if it is not there.
func actionName(a Action) string {
	for name, create := range actions {
		if reflect.TypeOf(create()) == reflect.TypeOf(a) {
			return name
		}
	}
	return ""
}
