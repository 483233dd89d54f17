package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/caddy-realtime/realtime/hub"
)

// What expressions say that CEL allows, but that never does what its author
// means.

// doubts are what is doubtful about an expression.
type doubts struct {
	templates   []string // strings with what would be replaced elsewhere
	lengths     []string // selections of a field called length, without it
	secrets     []string // selections of what rules never see
	data        []string // keys of socket.data that are read
	conditions, // selections that the client chooses and that must be true or false
	booleans []string // selections that are tested to be booleans
	tested []string // selections that has() asks for
	prefix bool     // "user:" + something
}

// template is what is replaced in strings of other languages.
var template = regexp.MustCompile(`\$\{[^{}]+\}|\{\{\s*\w[\w.]*\s*\}\}|\{(args|data|event|nsp|now|reason|sender|socket|user)\b[^{}]*\}`)

// hidden are selections that find nothing, because they could prove an
// identity.
var hidden = map[string]bool{
	"socket.handshake.headers.cookie": true, "socket.handshake.headers.authorization": true,
	"socket.handshake.query.token": true, "socket.handshake.query.access_token": true,
}

const hiddenIfVerified = "socket.handshake.auth.token"

// doubts reads the expression. It must be asked before the expression is
// compiled, which changes it.
func (s *source) doubts() (d doubts) {
	add := func(list *[]string, text string) {
		if !slices.Contains(*list, text) {
			*list = append(*list, text)
		}
	}
	ast.PreOrderVisit(s.ast.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.LiteralKind:
			if text, ok := e.AsLiteral().(types.String); ok && template.MatchString(string(text)) {
				add(&d.templates, string(text))
			}
		case ast.SelectKind:
			if sel := e.AsSelect(); sel.FieldName() == "length" && !sel.IsTestOnly() {
				if p := s.path(sel.Operand(), nil); p != nil && p.fromClient() {
					add(&d.lengths, p.String())
				}
			}
		case ast.CallKind:
			d.prefix = d.prefix || isUserPrefix(e.AsCall())
			if p := s.boolTest(e.AsCall()); p != nil {
				add(&d.booleans, p.String())
			}
		}
	}))
	s.walk(s.ast.Expr(), nil, func(_ ast.Expr, p *path) {
		text := p.String()
		switch {
		case p.has:
			add(&d.tested, text)
		case hidden[strings.ToLower(text)] || text == hiddenIfVerified:
			add(&d.secrets, text)
		case p.root == rootSocket && len(p.steps) > 1 && p.steps[0].key == "data":
			add(&d.data, p.steps[1].key)
		}
	})
	s.conditions(s.ast.Expr(), s.out.Kind() == types.BoolKind || s.out.Kind() == types.DynKind, func(p *path) { add(&d.conditions, p.String()) })
	return d
}

// isUserPrefix reports whether call puts a string together that begins with
// user:, the names of users' rooms on the wire.
func isUserPrefix(call ast.CallExpr) bool {
	if call.FunctionName() != operators.Add || call.Args()[0].Kind() != ast.LiteralKind {
		return false
	}
	text, ok := call.Args()[0].AsLiteral().(types.String)
	return ok && strings.HasPrefix(string(text), "user:")
}

// boolTest is the selection in `type(<selection>) == bool`, or nil.
func (s *source) boolTest(call ast.CallExpr) *path {
	if call.FunctionName() != operators.Equals {
		return nil
	}
	for i, e := range call.Args() {
		other := call.Args()[1-i]
		if e.Kind() == ast.IdentKind && e.AsIdent() == "bool" && other.Kind() == ast.CallKind && other.AsCall().FunctionName() == "type" {
			return s.path(other.AsCall().Args()[0], nil)
		}
	}
	return nil
}

// conditions visits the client's values that e needs to be true or false: e
// itself, if it is a condition, and the operands of !, &&, || and ?:.
func (s *source) conditions(e ast.Expr, condition bool, visit func(*path)) {
	if p := s.path(e, nil); p != nil {
		if condition && !p.has && p.clientsChoice() {
			visit(p)
		}
		return
	}
	if e.Kind() != ast.CallKind {
		return
	}
	call := e.AsCall()
	for i, arg := range call.Args() {
		switch call.FunctionName() {
		case operators.LogicalNot, operators.LogicalAnd, operators.LogicalOr:
			s.conditions(arg, true, visit)
		case operators.Conditional:
			s.conditions(arg, i == 0, visit)
		default:
			s.conditions(arg, false, visit)
		}
	}
}

// reservedRoom is a string by which the expression names a room that only
// user_room and socket_room can name, or "".
func (s *source) reservedRoom() string {
	whole := []ast.Expr{s.ast.Expr()}
	if e := s.ast.Expr(); e.Kind() == ast.ListKind {
		whole = e.AsList().Elements()
	}
	for _, e := range whole {
		if e.Kind() != ast.LiteralKind {
			continue
		}
		if name, ok := e.AsLiteral().(types.String); ok && hub.Reserved(string(name)) {
			return string(name)
		}
	}
	return ""
}

// checkRooms refuses constant rooms that are refused each time, in the
// expression checked last.
func (c *compiler) checkRooms() error {
	id, ofUser := strings.CutPrefix(c.reserved, "user:")
	switch {
	case ofUser:
		return fmt.Errorf("the room %q is refused, because it is a user's own; write user_room(%q)", c.reserved, id)
	case c.reserved != "":
		return fmt.Errorf("the room %q is refused, because it is a socket's own; write socket_room(%[1]q)", c.reserved)
	case c.doubts.prefix:
		c.warn(`a room whose name begins with "user:" is refused, because it is a user's own; write user_room(id)`)
	}
	return nil
}

// warnOfDoubts warns of what is doubtful about the expression checked last.
// asCondition says that its value must be true or false.
func (c *compiler) warnOfDoubts(asCondition bool) {
	d := &c.doubts
	for _, text := range d.templates {
		c.warnOfTemplate(text)
	}
	for _, of := range d.lengths {
		if field := of + ".length"; !c.tested(field) {
			c.warn("%s is a field called length; the size of a string or list is size(%s)", field, of)
		}
	}
	for _, field := range d.secrets {
		if field != hiddenIfVerified || c.set.anonymity != EverybodyAnonymous {
			c.warn("rules never see %s; the claims of a verified token are user", field)
		}
	}
	for _, key := range d.data {
		if field := "socket.data." + key; !c.tested(field) {
			c.set.reads = append(c.set.reads, dataRead{key: key, where: c.where})
		}
	}
	if c.schema {
		return
	}
	for _, field := range d.conditions {
		if field == c.facts.selection && !asCondition {
			continue // a value
		}
		if !slices.Contains(d.booleans, field) && !slices.Contains(c.known.booleans, field) {
			c.warn(`%s must be true or false here, another value refuses the event; write %[1]s == true, %[1]s != "" for a text, or has(%[1]s)`, field)
		}
	}
}

func (c *compiler) tested(field string) bool {
	return slices.Contains(c.doubts.tested, field) || slices.Contains(c.known.tested, field)
}

func (c *compiler) warnOfTemplate(text string) {
	if found := template.FindString(text); found != "" {
		c.warn("%s stays as it is, nothing is replaced in a string; write an expression in backticks: `\"text \" + data.name`", found)
	}
}

// warnOfUserID notes a target that is a user's id: a plain room, which is empty
// unless some rule joins it.
func (c *compiler) warnOfUserID() {
	if c.facts.selection == "user.id" {
		c.set.toUsers = append(c.set.toUsers, c.where)
	}
}

// dataRead is an expression that reads a key of socket.data.
type dataRead struct{ key, where string }

// warnOfUnset warns of what is read and set by no rule: keys of socket.data,
// and rooms with the ids of users.
func (s *Set) warnOfUnset() {
	for _, where := range s.toUsers {
		if !s.joinsUsers {
			s.warnings = append(s.warnings, Warning{where, "to user.id: no rule joins a room of that name; the user's own room is user_room(user.id)"})
		}
	}
	for _, r := range s.reads {
		if s.sets[r.key] {
			continue
		}
		text := fmt.Sprintf("socket.data.%s is never there: no rule has the step set %s", r.key, r.key)
		if r.key == "user" || r.key == "userId" {
			text += "; the claims of a verified token are user, the user's id is user.id"
		}
		s.warnings = append(s.warnings, Warning{Where: r.where, Text: text})
	}
}
