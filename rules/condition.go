package rules

import (
	"bytes"
	"cmp"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/caddy-realtime/realtime/internal/rawjson"
)

// condition is a compiled boolean expression.
type condition func(r *run) (bool, error)

// condition compiles e, which must be boolean or dyn. The common forms
// (comparisons of selections and constants, types, in_room, and what !, && and
// || make of them) are evaluated on the JSON as it lies, to the same result as
// CEL's; the rest is CEL's.
func (s *source) condition(e ast.Expr) (condition, error) {
	if p := s.path(e, nil); p != nil {
		if p.root == rootUser && len(p.steps) == 0 {
			return nil, errUserCondition
		}
		return p.condition, nil
	}
	if e.Kind() == ast.CallKind {
		call := e.AsCall()
		switch call.FunctionName() {
		case operators.LogicalNot:
			return s.not(call)
		case operators.LogicalAnd:
			return s.junction(call, false)
		case operators.LogicalOr:
			return s.junction(call, true)
		case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
			if c := s.comparison(call); c != nil {
				return c, nil
			}
		case "in_room":
			if p := s.path(call.Args()[1], nil); p != nil {
				return p.inRoom, nil
			}
		}
	}
	p, err := s.program(e)
	if err != nil {
		return nil, err
	}
	return p.condition, nil
}

func (p *program) condition(r *run) (bool, error) {
	v, err := p.eval(r)
	if err != nil {
		return false, err
	}
	b, ok := v.(types.Bool)
	if !ok {
		return false, errNotBool
	}
	return bool(b), nil
}

func (p *path) condition(r *run) (bool, error) {
	v, err := p.resolve(r)
	if err != nil {
		return false, err
	}
	if v.kind != rawValue || rawjson.KindOf(v.raw) != rawjson.KindBool {
		return false, errNotBool
	}
	return v.raw[0] == 't', nil
}

func (p *path) inRoom(r *run) (bool, error) {
	v, err := p.resolve(r)
	if err != nil {
		return false, err
	}
	a, err := v.room()
	if err != nil {
		return false, err
	}
	return r.event.Socket.InRoom(a), nil
}

func (s *source) not(call ast.CallExpr) (condition, error) {
	c, err := s.condition(call.Args()[0])
	if err != nil {
		return nil, err
	}
	return func(r *run) (bool, error) {
		ok, err := c(r)
		return !ok && err == nil, err
	}, nil
}

// junction is || if decisive is true, else &&: a term of that value decides,
// even if another cannot be evaluated.
func (s *source) junction(call ast.CallExpr, decisive bool) (condition, error) {
	var terms []condition
	for _, arg := range call.Args() {
		term, err := s.condition(arg)
		if err != nil {
			return nil, err
		}
		terms = append(terms, term)
	}
	return func(r *run) (bool, error) {
		var failed error
		for _, term := range terms {
			ok, err := term(r)
			if err == nil && ok == decisive {
				return decisive, nil
			}
			if failed == nil {
				failed = err
			}
		}
		return !decisive && failed == nil, failed
	}, nil
}

// comparison compiles a comparison whose operands are selections and
// constants, or a selection's type and a type; nil if call is another.
func (s *source) comparison(call ast.CallExpr) condition {
	op, args := call.FunctionName(), call.Args()
	if op == operators.Equals || op == operators.NotEquals {
		for i := range args {
			if c := s.typeTest(args[i], args[1-i], op == operators.Equals); c != nil {
				return c
			}
		}
	}
	left, ok1 := s.operand(args[0])
	right, ok2 := s.operand(args[1])
	if !ok1 || !ok2 {
		return nil
	}
	return func(r *run) (bool, error) {
		a, err := left.load(r)
		if err != nil {
			return false, err
		}
		b, err := right.load(r)
		if err != nil {
			return false, err
		}
		return compare(op, &a, &b)
	}
}

// typeTest is `type(<selection>) == <type>`, or != unless equal.
func (s *source) typeTest(e, typ ast.Expr, equal bool) condition {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != overloads.TypeConvertType || typ.Kind() != ast.IdentKind {
		return nil
	}
	p, want := s.path(e.AsCall().Args()[0], nil), typ.AsIdent()
	if p == nil || !typeNames[want] {
		return nil
	}
	return func(r *run) (bool, error) {
		v, err := p.resolve(r)
		if err != nil {
			return false, err
		}
		name, err := v.typeName()
		return err == nil && (name == want) == equal, err
	}
}

var typeNames = map[string]bool{
	"null_type": true, "bool": true, "int": true, "uint": true, "double": true, "string": true, "bytes": true, "list": true, "map": true,
}

// typeName is CEL's name for the type of v.
func (v value) typeName() (string, error) {
	switch v.kind {
	case stringValue:
		return "string", nil
	case intValue:
		return "int", nil
	}
	switch rawjson.KindOf(v.raw) {
	case rawjson.KindNull:
		return "null_type", nil
	case rawjson.KindBool:
		return "bool", nil
	case rawjson.KindNumber:
		_, _, isInt, err := number(v.raw)
		if isInt {
			return "int", err
		}
		return "double", err
	case rawjson.KindString:
		return "string", nil
	case rawjson.KindArray:
		return "list", nil
	}
	if v.isBinary() {
		return "bytes", nil
	}
	return "map", v.checkKeys()
}

// operand is a selection, or a constant if path is nil.
type operand struct {
	path     *path
	constant scalar
}

func (s *source) operand(e ast.Expr) (operand, bool) {
	if p := s.path(e, nil); p != nil {
		return operand{path: p}, true
	}
	if e.Kind() != ast.LiteralKind {
		return operand{}, false
	}
	switch v := e.AsLiteral().(type) {
	case types.Null:
		return operand{constant: scalar{kind: nullScalar}}, true
	case types.Bool:
		return operand{constant: scalar{kind: boolScalar, b: bool(v)}}, true
	case types.Int:
		return operand{constant: scalar{kind: intScalar, i: int64(v)}}, true
	case types.Double:
		return operand{constant: scalar{kind: doubleScalar, f: float64(v)}}, true
	case types.String:
		return operand{constant: scalar{kind: textScalar, text: []byte(v)}}, true
	}
	return operand{}, false
}

// scalar is a value that can be compared without CEL; other is any that
// cannot: a list, a map or bytes.
type scalar struct {
	kind  scalarKind
	b     bool
	i     int64
	f     float64
	text  []byte
	other value
}

type scalarKind uint8

const (
	nullScalar scalarKind = iota
	boolScalar
	intScalar
	doubleScalar
	textScalar
	otherScalar
)

func (o *operand) load(r *run) (scalar, error) {
	if o.path == nil {
		return o.constant, nil
	}
	v, err := o.path.resolve(r)
	if err != nil {
		return scalar{}, err
	}
	return v.scalar(r)
}

func (v value) scalar(r *run) (scalar, error) {
	switch {
	case v.kind == stringValue:
		start := len(r.scratch)
		r.scratch = append(r.scratch, v.str...)
		return scalar{kind: textScalar, text: r.scratch[start:]}, nil
	case v.kind == intValue:
		return scalar{kind: intScalar, i: v.num}, nil
	case len(v.raw) > maxRead:
		return scalar{}, errTooLarge
	}
	switch rawjson.KindOf(v.raw) {
	case rawjson.KindNull:
		return scalar{kind: nullScalar}, nil
	case rawjson.KindBool:
		return scalar{kind: boolScalar, b: v.raw[0] == 't'}, nil
	case rawjson.KindNumber:
		i, f, isInt, err := number(v.raw)
		if isInt {
			return scalar{kind: intScalar, i: i}, err
		}
		return scalar{kind: doubleScalar, f: f}, err
	case rawjson.KindString:
		if text, ok := rawjson.Plain(v.raw); ok {
			return scalar{kind: textScalar, text: text}, nil
		}
		start := len(r.scratch)
		r.scratch = rawjson.Unquote(r.scratch, v.raw)
		return scalar{kind: textScalar, text: r.scratch[start:]}, nil
	}
	return scalar{kind: otherScalar, other: v}, nil
}

// compare applies op, in CEL's sense.
func compare(op string, a, b *scalar) (bool, error) {
	if op == operators.Equals || op == operators.NotEquals {
		if a.kind == otherScalar || b.kind == otherScalar {
			return equalVals(a.cel(), b.cel(), op == operators.Equals)
		}
		return equal(a, b) == (op == operators.Equals), nil
	}
	c, err := order(a, b)
	if err != nil {
		return false, err
	}
	switch op {
	case operators.Less:
		return c < 0, nil
	case operators.LessEquals:
		return c <= 0, nil
	case operators.Greater:
		return c > 0, nil
	default: // GreaterEquals
		return c >= 0, nil
	}
}

func equal(a, b *scalar) bool {
	if a.kind != b.kind {
		return types.Equal(a.cel(), b.cel()) == types.True // an int and a double may be
	}
	switch a.kind {
	case boolScalar:
		return a.b == b.b
	case intScalar:
		return a.i == b.i
	case doubleScalar:
		return a.f == b.f
	case textScalar:
		return bytes.Equal(a.text, b.text)
	}
	return true // null
}

// equalVals is == or != of CEL, which takes what cannot be compared, deep in a
// list or map, for different if asked by !=.
func equalVals(a, b ref.Val, equal bool) (bool, error) {
	for _, v := range []ref.Val{a, b} {
		if err, ok := v.(*types.Err); ok {
			return false, err
		}
	}
	eq := types.Equal(a, b)
	if err, ok := eq.(*types.Err); ok && equal {
		return false, err
	}
	return (eq == types.True) == equal, nil
}

func order(a, b *scalar) (int, error) {
	if a.kind == b.kind {
		switch a.kind {
		case intScalar:
			return cmp.Compare(a.i, b.i), nil
		case doubleScalar:
			return cmp.Compare(a.f, b.f), nil
		case textScalar:
			return bytes.Compare(a.text, b.text), nil
		}
	}
	left, ok := a.cel().(traits.Comparer)
	if !ok {
		return 0, errOrder
	}
	switch c := left.Compare(b.cel()).(type) {
	case types.Int:
		return int(c), nil
	case *types.Err:
		return 0, c
	}
	return 0, errOrder
}

func (s *scalar) cel() ref.Val {
	switch s.kind {
	case nullScalar:
		return types.NullValue
	case boolScalar:
		return types.Bool(s.b)
	case intScalar:
		return types.Int(s.i)
	case doubleScalar:
		return types.Double(s.f)
	case textScalar:
		return types.String(s.text)
	default:
		return s.other.cel()
	}
}
