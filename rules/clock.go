package rules

import (
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/caddy-realtime/realtime/hub"
)

// The time of expressions and schemas is charged to the client's connection, and
// what takes long lets others run in between. Two looks at the clock take as long
// as a small expression, so what is surely quick is not clocked: an expression
// without loops that reads nothing but a message of at most quickRead bytes.
const (
	loopTime  = 10 * time.Millisecond // of one evaluation that loops
	loopTurns = 4                     // of a loop between two looks at the clock
	quickRead = 2 << 10
)

// clock is how long a run has worked.
type clock struct {
	worked time.Duration // and the call does not know of
	since  time.Duration // when the present stint began
	left   time.Duration // of loopTime
	turns  int
}

var epoch = time.Now()

// clockTime reads the monotonic clock alone, which is half of time.Now.
func clockTime() time.Duration { return time.Since(epoch) }

// begin begins an evaluation.
func (c *clock) begin() { c.since, c.left, c.turns = clockTime(), loopTime, 0 }

// finish ends an evaluation.
func (c *clock) finish() { c.worked += clockTime() - c.since }

// timeLeft is called during an evaluation. It reports whether there is time left, and
// lets others run after each stint.
func (r *run) timeLeft() bool {
	d := clockTime() - r.clock.since
	if d < min(hub.Stint, r.clock.left) {
		return true
	}
	r.clock.left -= d
	r.clock.worked += d
	r.tell()
	r.clock.since = clockTime()
	return r.clock.left > 0
}

// tell tells the call how long the run has worked.
func (r *run) tell() {
	if d := r.clock.worked; d > 0 {
		r.clock.worked = 0
		r.call.Worked(d)
	}
}

// loopSteps are the expressions that e's loops evaluate in each turn.
func loopSteps(e ast.Expr) map[int64]bool {
	steps := map[int64]bool{}
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.ComprehensionKind {
			steps[e.AsComprehension().LoopStep().ID()] = true
		}
	}))
	return steps
}

// clockLoops is a decorator of CEL's planner that has the steps look at the
// clock. It counts them in n.
func clockLoops(steps map[int64]bool, n *int) interpreter.InterpretableDecoratorV2 {
	return func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		if _, done := i.(*loopStep); done || !steps[i.ID()] {
			return i, nil
		}
		*n++
		return &loopStep{i}, nil
	}
}

// loopStep is one turn of a loop. It fails when the time is over.
type loopStep struct{ interpreter.InterpretableV2 }

func (s *loopStep) Eval(a interpreter.Activation) ref.Val { return s.Exec(interpreter.AsFrame(a)) }

func (s *loopStep) Exec(f *interpreter.ExecutionFrame) ref.Val {
	v, _ := f.ResolveName(callVar)
	r := v.(*callVal).run
	if r.clock.turns++; r.clock.left <= 0 || r.clock.turns%loopTurns == 0 && !r.timeLeft() {
		return types.WrapErr(errTooSlow)
	}
	return s.InterpretableV2.Exec(f)
}

// quick reports whether an expression reads only what comes with the message, and
// asks nothing of others that may be much.
func quick(e ast.Expr, paths []*path) bool {
	for _, p := range paths {
		switch p.root {
		case rootSocket, rootUser, rootVar:
			return false
		}
	}
	quick := true
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.CallKind && lists[e.AsCall().FunctionName()] || e.Kind() == ast.ComprehensionKind {
			quick = false
		}
	}))
	return quick
}

// lists are the functions whose results grow with the number of users.
var lists = map[string]bool{"members": true, "online": true}
