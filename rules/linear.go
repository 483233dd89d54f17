package rules

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// checkCalls refuses, when the config loads, calls that could take long for
// what a client puts in: a pattern, a time zone and a format must be constant.
func checkCalls(e ast.Expr) (err error) {
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if err != nil || e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		args := call.Args()
		if err = checkRun(call); err != nil {
			return
		}
		if call.IsMemberFunction() {
			args = append([]ast.Expr{call.Target()}, args...)
		}
		constant, what := -1, ""
		switch call.FunctionName() {
		case overloads.Matches:
			constant, what = 1, "the pattern of matches"
		case "format":
			constant, what = 0, "the format of format"
		case overloads.TimeGetFullYear, overloads.TimeGetMonth, overloads.TimeGetDayOfYear, overloads.TimeGetDayOfMonth,
			overloads.TimeGetDate, overloads.TimeGetDayOfWeek, overloads.TimeGetHours, overloads.TimeGetMinutes,
			overloads.TimeGetSeconds, overloads.TimeGetMilliseconds:
			constant, what = 1, "a time zone"
		}
		if constant >= 0 && constant < len(args) && args[constant].Kind() != ast.LiteralKind {
			err = fmt.Errorf("%s must be a constant string", what)
		}
	}))
	return err
}

// checkRun refuses a call of one of runFunctions that the macro, which puts the
// run before the arguments, has not seen: their number is wrong.
func checkRun(call ast.CallExpr) error {
	name, args := call.FunctionName(), call.Args()
	for _, f := range runFunctions {
		if f.name == name && (len(args) == 0 || args[0].Kind() != ast.IdentKind || args[0].AsIdent() != callVar) {
			return fmt.Errorf("%s takes %d arguments, not %d; write %s(%s)", name, f.n, len(args), name, ownFunctions[name])
		}
	}
	return nil
}

// linear are implementations that replace those of CEL, which are not linear
// or not bounded in what they make. Other results are bounded by bounded.
var linear = map[string]func(args []ref.Val) ref.Val{
	"indexOf":     func(args []ref.Val) ref.Val { return index(args, false) },
	"lastIndexOf": func(args []ref.Val) ref.Val { return index(args, true) },
	"replace":     replace,
	"join":        join,
}

// makers are the functions of CEL that can make a string longer than their
// arguments, or of what may be longer than what an expression may read.
var makers = map[string]bool{"format": true, "strings.quote": true, "string": true, "bytes": true}

// boundCalls is a decorator of CEL's planner that puts linear and bounded
// calls in the place of others.
func boundCalls(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok {
		return i, nil
	}
	if f := arithmetic[call.Function()]; f != nil {
		return &arithmeticCall{call, f}, nil
	}
	if f := linear[call.Function()]; f != nil {
		return &linearCall{call, f}, nil
	}
	if makers[call.Function()] {
		return &boundedCall{call}, nil
	}
	return i, nil
}

type boundedCall struct{ interpreter.InterpretableCall }

func (c *boundedCall) Eval(a interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(a))
}

func (c *boundedCall) Exec(f *interpreter.ExecutionFrame) ref.Val {
	return bounded(c.InterpretableCall.Exec(f))
}

// bounded is v, or an error if it is too long a string.
func bounded(v ref.Val) ref.Val {
	switch v := v.(type) {
	case types.String:
		if len(v) > maxString {
			return types.WrapErr(errTooLong)
		}
	case types.Bytes:
		if len(v) > maxString {
			return types.WrapErr(errTooLong)
		}
	}
	return v
}

type linearCall struct {
	interpreter.InterpretableCall
	f func([]ref.Val) ref.Val
}

func (c *linearCall) Eval(a interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(a))
}

func (c *linearCall) Exec(f *interpreter.ExecutionFrame) ref.Val {
	args := make([]ref.Val, len(c.Args()))
	for i, a := range c.Args() {
		args[i] = a.Exec(f)
		if types.IsUnknownOrError(args[i]) {
			return args[i]
		}
	}
	return c.f(args)
}

// index is indexOf and lastIndexOf: (string, substring[, offset]), in
// characters.
func index(args []ref.Val, last bool) ref.Val {
	s, ok1 := args[0].(types.String)
	sub, ok2 := args[1].(types.String)
	if !ok1 || !ok2 {
		return types.NoSuchOverloadErr()
	}
	n := utf8.RuneCountInString(string(s))
	offset := 0
	if last {
		offset = max(n-1, 0)
	}
	if len(args) == 3 {
		o, ok := args[2].(types.Int)
		if !ok {
			return types.NoSuchOverloadErr()
		}
		if o < 0 {
			return types.NewErr("index out of range: %d", o)
		}
		offset = int(min(o, types.Int(n)))
	} else if last && sub == "" {
		return types.Int(n)
	}
	if sub == "" {
		return types.Int(offset)
	}
	if offset >= n {
		return types.Int(-1)
	}
	return types.Int(runeIndex(string(s), string(sub), offset, last))
}

// runeIndex returns the character at which sub begins in s: the first at or after
// offset, or the last at or before it; -1 if there is none.
func runeIndex(s, sub string, offset int, last bool) int {
	at := byteOffset(s, offset)
	i := 0
	if last {
		i = strings.LastIndex(s[:min(at+len(sub), len(s))], sub)
	} else if i = strings.Index(s[at:], sub); i >= 0 {
		i += at
	}
	if i < 0 {
		return -1
	}
	return utf8.RuneCountInString(s[:i])
}

// byteOffset is the index of the byte at which character n of s begins.
func byteOffset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// replace is replace(string, old, new[, n]).
func replace(args []ref.Val) ref.Val {
	s, ok1 := args[0].(types.String)
	old, ok2 := args[1].(types.String)
	with, ok3 := args[2].(types.String)
	if !ok1 || !ok2 || !ok3 {
		return types.NoSuchOverloadErr()
	}
	n := strings.Count(string(s), string(old))
	if len(args) == 4 {
		limit, ok := args[3].(types.Int)
		if !ok {
			return types.NoSuchOverloadErr()
		}
		if limit >= 0 {
			n = int(min(types.Int(n), limit))
		}
	}
	if len(s)+n*(len(with)-len(old)) > maxString {
		return types.WrapErr(errTooLong)
	}
	return types.String(strings.Replace(string(s), string(old), string(with), n))
}

// join is join(list[, separator]).
func join(args []ref.Val) ref.Val {
	l, ok := args[0].(traits.Lister)
	if !ok {
		return types.NoSuchOverloadErr()
	}
	separator := types.String("")
	if len(args) == 2 {
		if separator, ok = args[1].(types.String); !ok {
			return types.NoSuchOverloadErr()
		}
	}
	var b strings.Builder
	for it, first := l.Iterator(), true; it.HasNext() == types.True; first = false {
		s, ok := it.Next().(types.String)
		if !ok {
			return types.NewErr("join of what is no string")
		}
		if !first {
			b.WriteString(string(separator))
		}
		b.WriteString(string(s))
		if b.Len() > maxString {
			return types.WrapErr(errTooLong)
		}
	}
	return types.String(b.String())
}
