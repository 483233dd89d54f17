package rules

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Warning is something in a configuration that is allowed, but most likely not
// meant.
type Warning struct {
	Where string // file and line of a rule from a Caddyfile, or the path of one from JSON
	Text  string
}

func (w Warning) String() string { return w.Where + ": " + w.Text }

// Anonymity says whose sockets rules will run for.
type Anonymity uint8

const (
	NobodyAnonymous    Anonymity = iota // each socket has a user
	SomeAnonymous                       // sockets may have a user
	EverybodyAnonymous                  // no socket has one
)

// Warnings are what Compile found.
func (s *Set) Warnings() []Warning { return s.warnings }

func (c *compiler) warn(format string, args ...any) {
	w := Warning{Where: c.where, Text: fmt.Sprintf(format, args...)}
	c.set.warnings = append(c.set.warnings, w)
}

// known is what conditions before a step have made sure of.
type known struct {
	rooms            []string // selections that name rooms which the socket is in, or was
	user             bool     // there is one
	tested, booleans []string // as of doubts
}

// facts are what an expression tells of its author's care.
type facts struct {
	selection string   // which it is as a whole
	inRooms   []string // what it asks in_room about
	targets   []string // what a client chooses, outside of user_room and socket_room
	userRoom  bool     // it calls user_room
	userField bool     // it selects from user
	userTest  bool     // it asks whether there is one
}

// facts reads the expression. It must be asked before the expression is
// compiled, which changes it.
func (s *source) facts() (f facts) {
	if p := s.path(s.ast.Expr(), nil); p != nil {
		f.selection = p.String()
	}
	addressed := map[int64]bool{} // selections within user_room and socket_room
	ast.PreOrderVisit(s.ast.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		switch args := call.Args(); call.FunctionName() {
		case "in_room":
			if p := s.path(args[1], nil); p != nil {
				f.inRooms = append(f.inRooms, p.String())
			}
		case "user_room", "socket_room":
			f.userRoom = f.userRoom || call.FunctionName() == "user_room"
			s.walk(args[0], nil, func(e ast.Expr, _ *path) { addressed[e.ID()] = true })
		case operators.Equals, operators.NotEquals:
			f.userTest = f.userTest || s.isUser(args[0]) && isNull(args[1]) || s.isUser(args[1]) && isNull(args[0])
		}
	}))
	s.walk(s.ast.Expr(), nil, func(e ast.Expr, p *path) {
		switch {
		case p.root == rootUser && p.has:
			f.userTest = true
		case p.root == rootUser && len(p.steps) > 0:
			f.userField = true
		case p.clientsChoice() && !addressed[e.ID()]:
			f.targets = append(f.targets, p.String())
		}
	})
	return f
}

func (s *source) isUser(e ast.Expr) bool {
	p := s.path(e, nil)
	return p != nil && p.root == rootUser && len(p.steps) == 0
}

func isNull(e ast.Expr) bool {
	return e.Kind() == ast.LiteralKind && e.AsLiteral() == types.NullValue
}

// clientsChoice is fromClient without what rules have stored themselves.
func (p *path) clientsChoice() bool {
	if p.root == rootVar {
		return p.of.clientsChoice
	}
	return p.fromClient() && !(p.root == rootSocket && len(p.steps) > 0 && p.steps[0].key == "data")
}

// String is the selection as it could be written.
func (p *path) String() string {
	var b strings.Builder
	if p.root == rootVar {
		b.WriteString(p.of.title)
	} else {
		b.WriteString(rootNames[p.root])
	}
	for _, s := range p.steps {
		if s.missing != nil {
			b.WriteString("." + s.key)
		} else {
			fmt.Fprintf(&b, "[%d]", s.index)
		}
	}
	return b.String()
}

var rootNames = func() map[root]string {
	names := map[root]string{rootRoom: "room"}
	for name, r := range roots {
		names[r] = name
	}
	return names
}()

// warnOfName warns of a rule for what Node's server calls a new socket.
func (c *compiler) warnOfName() {
	if c.event == "connection" {
		c.warn("on connection: clients would have to send an event of this name; the rule for new clients is on connect")
	}
}

// learn remembers what the condition checked last makes sure of. One that must
// hold, else the event is refused, may select from user: for nobody it does
// not hold.
func (c *compiler) learn(required bool) {
	c.known.rooms = append(slices.Clip(c.known.rooms), c.facts.inRooms...)
	c.known.tested = append(slices.Clip(c.known.tested), c.doubts.tested...)
	c.known.booleans = append(slices.Clip(c.known.booleans), c.doubts.booleans...)
	c.known.user = c.known.user || c.facts.userTest || required && c.facts.userField
}

// warnOfUser warns if the expression checked last needs a user who may not be
// there.
func (c *compiler) warnOfUser() {
	if c.set.anonymity != NobodyAnonymous && c.facts.userField && !c.facts.userTest && !c.known.user {
		c.warn("user is null for anonymous clients; require user != null before, or write sender")
	}
}

// warnOfTargets warns if the rooms named by the expression checked last are
// any that a client thinks of, or rooms of users where there are none.
func (c *compiler) warnOfTargets() {
	if c.facts.userRoom && c.set.anonymity == EverybodyAnonymous {
		c.warn("%s: user_room reaches no one, because without auth there are no users", c.event)
	}
	if c.set.allow != nil {
		return
	}
	for _, target := range c.facts.targets {
		if !slices.Contains(c.known.rooms, target) {
			c.warn("a client can send to any room; require in_room(%s) before, or set allow_rooms", target)
		}
	}
}
