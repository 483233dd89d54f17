package rules

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/parser"
)

// scope is what expressions may refer to.
type scope struct {
	env  *cel.Env
	vars map[string]*variable // declared by steps
	room bool                 // the variable room of allow_rooms

	expand func(string) (string, error) // of placeholders in strings, or nil

	known known
}

// source is a checked expression on its way to being compiled.
type source struct {
	scope
	ast        *ast.AST
	out        *cel.Type
	fromClient bool // refers to something that the client chooses
}

// check parses and type-checks text.
func (s scope) check(text string) (*source, error) {
	checked, issues := s.env.Compile(text)
	if issues.Err() != nil {
		return nil, s.explain(text, issues.Errors()[0].Message)
	}
	if err := s.expandStrings(checked.NativeRep().Expr()); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	if err := checkCalls(checked.NativeRep().Expr()); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	src := &source{scope: s, ast: checked.NativeRep(), out: checked.OutputType()}
	var ofEvent string
	s.walk(src.ast.Expr(), nil, func(_ ast.Expr, p *path) {
		src.fromClient = src.fromClient || p.fromClient()
		if p.ofEvent() {
			ofEvent = rootNames[p.root]
		}
	})
	if s.room && ofEvent != "" {
		return nil, fmt.Errorf("%s: %s is not known here, since rooms are also checked on recovery, without an event; use room, user or socket, or require in the rule", text, ofEvent)
	}
	return src, nil
}

// expandStrings replaces placeholders in the strings that e has.
func (s scope) expandStrings(e ast.Expr) (err error) {
	if s.expand == nil {
		return nil
	}
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if err != nil || e.Kind() != ast.LiteralKind {
			return
		}
		text, ok := e.AsLiteral().(types.String)
		if !ok || !strings.Contains(string(text), "{") {
			return
		}
		var with string
		if with, err = s.expand(string(text)); err == nil && with != string(text) {
			e.SetKindCase(ast.NewExprFactory().NewLiteral(e.ID(), types.String(with)))
		}
	}))
	return err
}

// path returns the selection that e is, or nil. The names in hidden are
// variables of loops, which hide ours.
func (s scope) path(e ast.Expr, hidden []string) *path {
	switch e.Kind() {
	case ast.IdentKind:
		return s.variable(e.AsIdent(), hidden)
	case ast.SelectKind:
		sel := e.AsSelect()
		p := s.path(sel.Operand(), hidden)
		if p == nil || p.has {
			return nil
		}
		p.steps = append(p.steps, fieldStep(sel.FieldName()))
		p.has = sel.IsTestOnly()
		return p
	case ast.CallKind:
		return s.indexed(e.AsCall(), hidden)
	}
	return nil
}

func (s scope) variable(name string, hidden []string) *path {
	if slices.Contains(hidden, name) {
		return nil
	}
	if v, ok := s.vars[name]; ok {
		return &path{root: rootVar, of: v}
	}
	if s.room && name == "room" {
		return &path{root: rootRoom}
	}
	if root, ok := roots[name]; ok {
		return &path{root: root}
	}
	return nil
}

// indexed is a path that ends in a constant index or key in brackets.
func (s scope) indexed(call ast.CallExpr, hidden []string) *path {
	if call.FunctionName() != operators.Index || call.Args()[1].Kind() != ast.LiteralKind {
		return nil
	}
	p := s.path(call.Args()[0], hidden)
	if p == nil || p.has {
		return nil
	}
	switch key := call.Args()[1].AsLiteral().(type) {
	case types.String:
		p.steps = append(p.steps, fieldStep(string(key)))
	case types.Int:
		p.steps = append(p.steps, step{index: int(key)})
	default:
		return nil
	}
	return p
}

// emitter compiles e to what writes JSON: literals, merges and choices are
// taken apart, so that what they only pass on keeps its bytes.
func (s *source) emitter(e ast.Expr) (emitter, error) {
	if p := s.path(e, nil); p != nil {
		return p, nil
	}
	switch e.Kind() {
	case ast.LiteralKind:
		if _, binary := e.AsLiteral().(types.Bytes); !binary {
			return newConstant(e.AsLiteral())
		}
	case ast.ListKind:
		if len(e.AsList().OptionalIndices()) == 0 {
			return s.listLiteral(e.AsList())
		}
	case ast.MapKind:
		if constantKeys(e.AsMap()) {
			return s.mapLiteral(e.AsMap())
		}
	case ast.CallKind:
		switch call := e.AsCall(); call.FunctionName() {
		case "merge":
			return s.merging(call)
		case operators.Conditional:
			return s.choice(call)
		}
	}
	return s.program(e)
}

func (s *source) listLiteral(l ast.ListExpr) (emitter, error) {
	lit := make(listLiteral, 0, l.Size())
	for _, e := range l.Elements() {
		v, err := s.emitter(e)
		if err != nil {
			return nil, err
		}
		lit = append(lit, v)
	}
	return lit, nil
}

func constantKeys(m ast.MapExpr) bool {
	for _, e := range m.Entries() {
		entry := e.AsMapEntry()
		if entry.IsOptional() || entry.Key().Kind() != ast.LiteralKind {
			return false
		}
	}
	return true
}

func (s *source) mapLiteral(m ast.MapExpr) (emitter, error) {
	lit := &mapLiteral{}
	seen := map[types.String]bool{}
	for _, e := range m.Entries() {
		key, ok := e.AsMapEntry().Key().AsLiteral().(types.String)
		if !ok {
			return nil, errors.New("the keys of a map must be strings in quotes")
		}
		if seen[key] {
			return nil, fmt.Errorf("the map has the key %q twice", string(key))
		}
		seen[key] = true
		v, err := s.emitter(e.AsMapEntry().Value())
		if err != nil {
			return nil, err
		}
		lit.add(string(key), v)
	}
	return lit, nil
}

func (s *source) merging(call ast.CallExpr) (emitter, error) {
	left, err := s.emitter(call.Args()[0])
	if err != nil {
		return nil, err
	}
	right, err := s.emitter(call.Args()[1])
	if err != nil {
		return nil, err
	}
	return &merging{left, right}, nil
}

func (s *source) choice(call ast.CallExpr) (emitter, error) {
	when, err := s.condition(call.Args()[0])
	if err != nil {
		return nil, err
	}
	then, err := s.emitter(call.Args()[1])
	if err != nil {
		return nil, err
	}
	els, err := s.emitter(call.Args()[2])
	if err != nil {
		return nil, err
	}
	return &choice{when, then, els}, nil
}

// program is an expression that CEL evaluates. What it selects was replaced by
// variables of its own, @0, @1 …: so that CEL gets only the values selected,
// each once, and nothing is decoded on the way to them.
type program struct {
	cel   cel.Program
	paths []*path
	quick bool // not worth being clocked, for a short message
	loops bool
}

func (s *source) program(e ast.Expr) (*program, error) {
	p := &program{}
	s.walk(e, nil, func(e ast.Expr, path *path) {
		name := "@" + strconv.Itoa(len(p.paths))
		p.paths = append(p.paths, path)
		e.SetKindCase(ast.NewExprFactory().NewIdent(e.ID(), name))
		s.ast.SetReference(e.ID(), ast.NewIdentReference(name, nil))
	})
	opts := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(boundCalls)}
	steps, clocked := loopSteps(e), 0
	if p.loops = len(steps) > 0; p.loops {
		opts = append(opts, cel.CustomDecoratorV2(clockLoops(steps, &clocked)))
	}
	p.quick = quick(e, p.paths)
	part := ast.NewCheckedAST(ast.NewAST(e, s.ast.SourceInfo()), s.ast.TypeMap(), s.ast.ReferenceMap())
	prg, err := s.env.PlanProgram(part, opts...)
	if err != nil {
		return nil, err
	}
	if clocked < len(steps) {
		return nil, errors.New("a loop in this expression cannot be stopped")
	}
	p.cel = prg
	return p, nil
}

// walk visits the longest selections in e; the visitor may replace what it is
// given. The names in hidden are variables of loops.
func (s scope) walk(e ast.Expr, hidden []string, visit func(ast.Expr, *path)) {
	if p := s.path(e, hidden); p != nil {
		visit(e, p)
		return
	}
	var parts []ast.Expr
	switch e.Kind() {
	case ast.SelectKind:
		parts = append(parts, e.AsSelect().Operand())
	case ast.CallKind:
		if e.AsCall().IsMemberFunction() {
			parts = append(parts, e.AsCall().Target())
		}
		parts = append(parts, e.AsCall().Args()...)
	case ast.ListKind:
		parts = e.AsList().Elements()
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			parts = append(parts, entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
	case ast.ComprehensionKind:
		loop := e.AsComprehension()
		s.walk(loop.IterRange(), hidden, visit)
		s.walk(loop.AccuInit(), hidden, visit)
		hidden = append(hidden[:len(hidden):len(hidden)], loop.IterVar(), loop.IterVar2(), loop.AccuVar())
		parts = append(parts, loop.LoopCondition(), loop.LoopStep(), loop.Result())
	}
	for _, part := range parts {
		s.walk(part, hidden, visit)
	}
}

// eval evaluates the program.
func (p *program) eval(r *run) (ref.Val, error) {
	a := &r.active
	a.program, a.read = p, 0
	a.vals = append(a.vals[:0], make([]ref.Val, len(p.paths))...)
	v, err := p.run(a)
	clear(a.vals)
	if err != nil {
		return nil, err
	}
	if e, ok := v.(*types.Err); ok {
		return nil, e
	}
	return v, nil
}

func (p *program) run(a *activation) (ref.Val, error) {
	r := a.run
	if p.quick && len(r.event.Args.JSON) <= quickRead {
		v, _, err := p.cel.Eval(a)
		return v, err
	}
	r.clock.begin()
	defer r.clock.finish()
	v, _, err := p.cel.Eval(a)
	if p.loops && r.clock.left <= 0 {
		return nil, errTooSlow
	}
	return v, err
}

func (p *program) emit(r *run, b *parser.Builder) error {
	v, err := p.eval(r)
	if err != nil {
		return err
	}
	return appendVal(b, v, len(b.JSON)+maxMade)
}

func (p *program) object(r *run) (*object, error) {
	v, err := p.eval(r)
	if err != nil {
		return nil, err
	}
	return objectOf(v)
}

// activation gives one evaluation of a program its variables.
type activation struct {
	run     *run
	program *program
	vals    []ref.Val // of the paths, once read
	read    int       // bytes read so far
}

func (a *activation) Parent() interpreter.Activation { return nil }

func (a *activation) ResolveName(name string) (any, bool) {
	if name == callVar {
		return &a.run.self, true
	}
	if len(name) < 2 || name[0] != '@' {
		return nil, false
	}
	i, err := strconv.Atoi(name[1:])
	if err != nil || i >= len(a.vals) {
		return nil, false
	}
	if a.vals[i] == nil {
		a.vals[i] = a.readPath(a.program.paths[i])
	}
	return a.vals[i], true
}

// readPath is the CEL value of what p selects, within the limits of what an
// expression may read.
func (a *activation) readPath(p *path) ref.Val {
	v, err := p.resolve(a.run)
	if err != nil {
		return types.WrapErr(err)
	}
	a.read += len(v.raw)
	if a.read > maxRead {
		return types.WrapErr(errTooLarge)
	}
	return v.cel()
}

// cel is the value as CEL has it.
func (v value) cel() ref.Val {
	switch {
	case v.kind == stringValue:
		return types.String(v.str)
	case v.kind == intValue:
		return types.Int(v.num)
	case len(v.raw) > maxRead, tooDeep(v.raw, maxDepth):
		return types.WrapErr(errTooLarge)
	default:
		return celValue(v.raw, v.bins)
	}
}

// callVal is the run as functions get it.
type callVal struct {
	ref.Val
	run *run
}

func (c *callVal) Type() ref.Type { return callType }

// targets is a compiled expression that names rooms.
type targets func(r *run) ([]hub.Address, error)

func (s *source) targets() (targets, error) {
	e := s.ast.Expr()
	if p := s.path(e, nil); p != nil {
		return func(r *run) ([]hub.Address, error) {
			v, err := p.resolve(r)
			if err != nil {
				return nil, err
			}
			return v.rooms()
		}, nil
	}
	if e.Kind() == ast.LiteralKind {
		rooms, err := roomsOf(e.AsLiteral())
		return func(*run) ([]hub.Address, error) { return rooms, nil }, err
	}
	p, err := s.program(e)
	if err != nil {
		return nil, err
	}
	return func(r *run) ([]hub.Address, error) {
		v, err := p.eval(r)
		if err != nil {
			return nil, err
		}
		return roomsOf(v)
	}, nil
}
