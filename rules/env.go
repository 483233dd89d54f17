package rules

import (
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/google/uuid"

	"github.com/caddy-realtime/realtime/hub"
)

// callVar is the hidden variable through which functions reach the run. Users
// cannot write its name.
const callVar = "@call"

var (
	callType    = cel.OpaqueType("realtime.call")
	addressType = cel.OpaqueType("realtime.address")
)

// runFunctions are the functions that ask the run; each takes n arguments.
var runFunctions = []struct {
	name   string
	n      int
	result *cel.Type
	call   func(r *run, args []ref.Val) ref.Val
}{
	{"in_room", 1, cel.BoolType, func(r *run, args []ref.Val) ref.Val {
		return withRoom(args[0], func(a hub.Address) ref.Val { return types.Bool(r.event.Socket.InRoom(a)) })
	}},
	{"member_count", 1, cel.IntType, func(r *run, args []ref.Val) ref.Val {
		return withRoom(args[0], func(a hub.Address) ref.Val { return types.Int(r.call.Directory().MemberCount(a)) })
	}},
	{"members", 1, cel.ListType(cel.StringType), func(r *run, args []ref.Val) ref.Val {
		return withRoom(args[0], func(a hub.Address) ref.Val {
			return stringList(r.call.Directory().Members(a))
		})
	}},
	{"online", 0, cel.ListType(cel.StringType), func(r *run, _ []ref.Val) ref.Val {
		return stringList(r.call.Directory().Online())
	}},
	{"is_online", 1, cel.BoolType, func(r *run, args []ref.Val) ref.Val {
		id, err := identifier(args[0])
		if err != nil {
			return types.WrapErr(err)
		}
		return types.Bool(r.call.Directory().IsOnline(id))
	}},
	{"last_seen", 1, cel.IntType, func(r *run, args []ref.Val) ref.Val {
		id, err := identifier(args[0])
		if err != nil {
			return types.WrapErr(err)
		}
		return types.Int(r.call.Directory().LastSeen(id))
	}},
}

func stringList(s []string) ref.Val {
	return types.NewStringList(types.DefaultTypeAdapter, s)
}

// library is what every expression has of CEL's.
func library() []cel.EnvOption {
	return append([]cel.EnvOption{
		ext.Strings(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(4096),
	}, mixedOverloads()...)
}

// newEnv is the environment of every rule: CEL's standard and strings
// libraries as far as they are linear (see boundCalls and checkCalls), and
// ours.
func newEnv() (*cel.Env, error) {
	known, err := types.NewRegistry()
	if err != nil {
		return nil, fmt.Errorf("setting up CEL: %w", err)
	}
	opts := append(library(),
		cel.CustomTypeProvider(socketTypes{known}),
		cel.Variable("args", cel.ListType(cel.DynType)),
		cel.Variable("data", cel.DynType),
		cel.Variable("event", cel.StringType),
		cel.Variable("nsp", cel.StringType),
		cel.Variable("reason", cel.StringType),
		cel.Variable("socket", socketType),
		cel.Variable("user", cel.DynType), // a map type would refuse user == null
		cel.Variable("sender", cel.StringType),
		cel.Variable("now", cel.IntType),
		cel.Variable(callVar, callType),
		cel.Function("uuid", cel.Overload("uuid", nil, cel.StringType,
			cel.FunctionBinding(func(...ref.Val) ref.Val { return types.String(uuid.NewString()) }))),
		cel.Function("merge", cel.Overload("merge_map_map",
			[]*cel.Type{cel.MapType(cel.StringType, cel.DynType), cel.MapType(cel.StringType, cel.DynType)},
			cel.MapType(cel.StringType, cel.DynType), cel.BinaryBinding(mergeVals))),
		addressFunction("user_room", hub.UserRoom),
		addressFunction("socket_room", hub.SocketRoom),
	)
	for _, f := range runFunctions {
		opts = append(opts, runFunction(f.name, f.n, f.result, f.call)...)
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("setting up CEL: %w", err)
	}
	return env, nil
}

// runFunction declares a function whose calls get the run as a hidden first
// argument, by a macro.
func runFunction(name string, n int, result *cel.Type, call func(*run, []ref.Val) ref.Val) []cel.EnvOption {
	params := []*cel.Type{callType}
	for range n {
		params = append(params, cel.DynType)
	}
	bind := cel.FunctionBinding(func(args ...ref.Val) ref.Val {
		return call(args[0].(*callVal).run, args[1:])
	})
	expand := func(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
		return f.NewCall(name, append([]ast.Expr{f.NewIdent(callVar)}, args...)...), nil
	}
	return []cel.EnvOption{
		cel.Function(name, cel.Overload(name, params, result, bind)),
		cel.Macros(cel.GlobalMacro(name, n, expand)),
	}
}

// addressFunction declares a function that makes an address of an id.
func addressFunction(name string, kind hub.AddressKind) cel.EnvOption {
	return cel.Function(name, cel.Overload(name, []*cel.Type{cel.DynType}, addressType,
		cel.UnaryBinding(func(v ref.Val) ref.Val {
			id, err := identifier(v)
			if err != nil {
				return types.WrapErr(err)
			}
			return &address{Address: hub.Address{Kind: kind, Name: id}}
		})))
}

func mergeVals(left, right ref.Val) ref.Val {
	l, err := objectOf(left)
	if err != nil {
		return types.WrapErr(err)
	}
	r, err := objectOf(right)
	if err != nil {
		return types.WrapErr(err)
	}
	return merge(l, r)
}
