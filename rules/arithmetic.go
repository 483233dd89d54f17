package rules

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// JSON has one kind of number. CEL has two, and its arithmetic does not mix
// them: `data.price * 2` would fail for a price of 1.5, and `data.price * 1.5`
// for a price of 2. Here an int beside a double counts as one; two ints stay
// ints.

// arithmetic are the operators that mix ints and doubles.
var arithmetic = map[string]func(left, right ref.Val) ref.Val{
	operators.Add: func(left, right ref.Val) ref.Val {
		if l, ok := left.(traits.Adder); ok {
			return bounded(l.Add(right))
		}
		return types.MaybeNoSuchOverloadErr(left)
	},
	operators.Subtract: func(left, right ref.Val) ref.Val {
		if l, ok := left.(traits.Subtractor); ok {
			return l.Subtract(right)
		}
		return types.MaybeNoSuchOverloadErr(left)
	},
	operators.Multiply: func(left, right ref.Val) ref.Val {
		if l, ok := left.(traits.Multiplier); ok {
			return l.Multiply(right)
		}
		return types.MaybeNoSuchOverloadErr(left)
	},
	operators.Divide: func(left, right ref.Val) ref.Val {
		if l, ok := left.(traits.Divider); ok {
			return l.Divide(right)
		}
		return types.MaybeNoSuchOverloadErr(left)
	},
}

// mixedOverloads declare the operators for an int and a double. arithmeticCall
// evaluates them.
func mixedOverloads() (opts []cel.EnvOption) {
	for _, op := range []struct{ operator, name string }{
		{operators.Add, "add"}, {operators.Subtract, "subtract"}, {operators.Multiply, "multiply"}, {operators.Divide, "divide"},
	} {
		opts = append(opts, cel.Function(op.operator,
			cel.Overload(op.name+"_int64_double", []*cel.Type{cel.IntType, cel.DoubleType}, cel.DoubleType),
			cel.Overload(op.name+"_double_int64", []*cel.Type{cel.DoubleType, cel.IntType}, cel.DoubleType)))
	}
	return opts
}

// arithmeticCall is a call of an operator of arithmetic.
type arithmeticCall struct {
	interpreter.InterpretableCall
	op func(left, right ref.Val) ref.Val
}

func (c *arithmeticCall) Eval(a interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(a))
}

func (c *arithmeticCall) Exec(f *interpreter.ExecutionFrame) ref.Val {
	args := c.Args()
	left, right := args[0].Exec(f), args[1].Exec(f)
	switch {
	case types.IsUnknownOrError(left):
		return left
	case types.IsUnknownOrError(right):
		return right
	}
	return c.op(asDouble(left, right), asDouble(right, left))
}

// asDouble is v, as a double if it is an int beside one.
func asDouble(v, beside ref.Val) ref.Val {
	if i, ok := v.(types.Int); ok {
		if _, ok := beside.(types.Double); ok {
			return types.Double(i)
		}
	}
	return v
}
