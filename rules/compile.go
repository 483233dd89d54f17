package rules

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/names"
	"github.com/caddy-realtime/realtime/parser"
)

// Options are what rules need beside themselves. The zero value is ready.
type Options struct {
	// AllowRooms is a CEL expression over `room` and the variables of rules, but
	// those of an event. It is evaluated for each room that a client's own choice
	// would join, also on recovery; if it is not true the join is refused
	// FORBIDDEN. Default: any room.
	AllowRooms string
	// Presence is what the namespace's sockets are told, which compiles on its
	// own: the events that tell it are not matched by `*`.
	Presence hub.PresenceConfig
	// Logger gets what the step log writes; default: nowhere.
	Logger *slog.Logger
	// Anonymity is for warnings only.
	Anonymity Anonymity
	// IsNamespace says whether there may be a namespace of that name, for steps
	// that send to another; nil: any.
	IsNamespace func(name string) bool
	// Expand replaces placeholders in the strings of rules when they are
	// compiled; nil replaces none.
	Expand func(string) (string, error)
	// Trace is told what the rules do, nil of nothing.
	Trace Tracer
}

// Tracer follows rules. Its methods are called on the goroutine that runs the
// rule, and must not keep what they are given.
type Tracer interface {
	// Step is called before each step.
	Step(Place)
	// Let is called when the step let has given its variable a value, JSON.
	Let(name string, value []byte)
}

// Place is where a step stands.
type Place struct {
	File  string // of a Caddyfile; "preset <name>" of a preset; "" of JSON
	Line  int
	Path  string // in JSON
	Step  string // its name
	Depth int    // how many ifs it stands in
}

// Set is what Compile makes of a namespace's rules: the policy of its sockets.
// It is immutable and safe for concurrent use.
type Set struct {
	connect, disconnect *code
	events              map[string]*code
	codes               map[hub.Code]bool // of the rules
	any                 *code             // `on *`
	reserved            map[string]bool   // never matched by it
	allow               condition         // of Options.AllowRooms, or nil
	log                 *slog.Logger
	anonymity           Anonymity
	warnings            []Warning
	toUsers             []string        // where user.id is a target
	joinsUsers          bool            // a rule joins such a room
	reads               []dataRead      // of socket.data
	sets                map[string]bool // keys of socket.data
	trace               Tracer          // or nil
	expand              func(string) (string, error)
	isNamespace         func(name string) bool
}

var (
	_ hub.Policy    = (*Set)(nil)
	_ hub.RoomGuard = (*Set)(nil)
	_ hub.Lister    = (*Set)(nil)
)

// Events lists the events that have a rule of their own.
func (s *Set) Events() []string { return slices.Collect(maps.Keys(s.events)) }

// Codes lists the codes that the rules refuse with.
func (s *Set) Codes() []hub.Code { return slices.Collect(maps.Keys(s.codes)) }

// ruleKind is what a rule answers.
type ruleKind uint8

const (
	eventRule ruleKind = iota
	connectRule
	disconnectRule
)

// code is a compiled rule, or several that run one after the other.
type code struct {
	ops    []op
	lines  []string // of each op, in the configuration: Caddyfile:12
	starts []int    // where each rule begins
	slots  int      // variables to keep
	logs   quota
}

// op is one step. It returns why the event is refused, or suspended.
type op func(r *run) *hub.Refusal

// baseEnv is the environment that all rules share.
var baseEnv = sync.OnceValues(newEnv)

// Compile checks rules and compiles them. own replaces the presets' rules for
// the same event; rules for connect and disconnect add up, presets first. Two
// own rules, or those of two presets, for one event are an error. Errors begin
// with the file and line of a rule from a Caddyfile, or the path of one from
// JSON: rules[2].steps[0].
func Compile(own []Rule, presets [][]Rule, o Options) (*Set, error) {
	env, err := baseEnv()
	if err != nil {
		return nil, err
	}
	s := &Set{events: map[string]*code{}, sets: map[string]bool{}, codes: map[hub.Code]bool{}, reserved: maps.Clone(ownEvents), log: o.Logger, anonymity: o.Anonymity, trace: o.Trace, expand: o.Expand, isNamespace: o.IsNamespace}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.allow, err = compileAllowRooms(env, s, o.AllowRooms); err != nil {
		return nil, err
	}
	if own, err = s.expandEvents(own); err != nil {
		return nil, err
	}
	s.reserve(own, presets, o.Presence)
	inherited, err := unique(slices.Concat(presets...), false)
	if err != nil {
		return nil, err
	}
	mine, err := unique(own, true)
	if err != nil {
		return nil, err
	}
	for _, r := range inherited {
		if _, replaced := find(mine, r.Event); replaced && kindOf(r.Event) == eventRule {
			continue
		}
		if err := s.add(env, r); err != nil {
			return nil, err
		}
	}
	for _, r := range mine {
		if err := s.add(env, r); err != nil {
			return nil, err
		}
	}
	s.warnOfUnset()
	return s, nil
}

// expandEvents replaces placeholders in the names of events.
func (s *Set) expandEvents(rules []Rule) ([]Rule, error) {
	rules = slices.Clone(rules)
	for i := range rules {
		r := &rules[i]
		event, err := s.text(r.Event)
		if err != nil {
			return nil, placed(r.at.or("on["+strconv.Itoa(i)+"]"), "on: %w", err)
		}
		r.Event = event
	}
	return rules, nil
}

// text is a string of a rule with its placeholders replaced.
func (s *Set) text(text string) (string, error) {
	if s.expand == nil || !strings.Contains(text, "{") {
		return text, nil
	}
	return s.expand(text)
}

// reserve keeps `*` from matching what the server itself sends: what presets
// in use emit, and what tells of typing and presence. Clients could forge it.
func (s *Set) reserve(own []Rule, presets [][]Rule, p hub.PresenceConfig) {
	var events []string
	for _, rule := range slices.Concat(presets...) {
		events = append(events, emitted(rule.Steps)...)
	}
	for _, rule := range own {
		for _, event := range emitted(rule.Steps) {
			if slices.Contains(hub.TypingEvents, event) {
				events = append(events, event)
			}
		}
	}
	if p.On() {
		events = append(events, hub.PresenceEvents...)
	}
	for _, event := range events {
		s.reserved[event] = true
	}
}

// ownEvents are sent by the server only, or answered by it.
var ownEvents = map[string]bool{"error": true, "token-expired": true, "auth-refresh": true}

// emitted are the events that steps send.
func emitted(steps []Step) (events []string) {
	for _, s := range steps {
		if e, ok := s.Action.(emitting); ok {
			events = append(events, e.emits()...)
		}
	}
	return events
}

// placedRule is a rule with its place in the configuration, as errors name it.
type placedRule struct {
	Rule
	path  string // of a rule from JSON
	where string
}

// unique gives rules their places and checks that no event is named twice,
// except connect and disconnect by several presets.
func unique(rules []Rule, own bool) ([]placedRule, error) {
	var out []placedRule
	for i, r := range rules {
		path := "on[" + strconv.Itoa(i) + "]"
		where := r.at.or(path)
		before, twice := find(out, r.Event)
		if twice && (own || kindOf(r.Event) == eventRule) {
			return nil, placed(where, "on %s: the event has another rule at %s; merge the two", r.Event, before.where)
		}
		out = append(out, placedRule{r, path, where})
	}
	return out, nil
}

func find(rules []placedRule, event string) (r placedRule, ok bool) {
	i := slices.IndexFunc(rules, func(r placedRule) bool { return r.Event == event })
	if i < 0 {
		return placedRule{}, false
	}
	return rules[i], true
}

func kindOf(event string) ruleKind {
	switch event {
	case "connect":
		return connectRule
	case "disconnect":
		return disconnectRule
	}
	return eventRule
}

// add compiles a rule into s.
func (s *Set) add(env *cel.Env, r placedRule) error {
	if err := checkEvent(r.Event); err != nil {
		return placed(r.where, "on %s: %w", strings.Trim(strconv.Quote(r.Event), `"`), err)
	}
	c := &compiler{scope: scope{env: env, expand: s.expand}, set: s, kind: kindOf(r.Event), code: s.code(r.Event), end: new(int), event: r.Event}
	c.code.starts = append(c.code.starts, len(c.code.ops))
	c.where = r.where
	c.warnOfName()
	if err := c.block(r.Steps, r.path); err != nil {
		return err
	}
	*c.end = len(c.code.ops)
	return nil
}

// code is where the rules for an event go.
func (s *Set) code(event string) *code {
	target := &s.any
	switch event {
	case "connect":
		target = &s.connect
	case "disconnect":
		target = &s.disconnect
	case "*":
	default:
		s.events[event] = &code{}
		return s.events[event]
	}
	if *target == nil {
		*target = &code{}
	}
	return *target
}

func checkEvent(event string) error {
	switch {
	case event == "":
		return errors.New("the event is missing")
	case len(event) > maxEventName:
		return errLongEvent
	case !names.Clean(event):
		return errUncleanEvent
	case event == "connect", event == "disconnect", event == "auth-refresh":
		return nil
	case parser.IsReserved(event), ownEvents[event]:
		if hint := eventHints[event]; hint != "" {
			return errors.New("clients cannot send it; " + hint)
		}
		return errors.New("clients cannot send an event of this name")
	}
	return nil
}

func compileAllowRooms(env *cel.Env, s *Set, text string) (condition, error) {
	if text == "" {
		return nil, nil
	}
	env, err := env.Extend(cel.Variable("room", cel.StringType))
	if err != nil {
		return nil, fmt.Errorf("allow_rooms: %w", err)
	}
	c := &compiler{scope: scope{env: env, room: true, expand: s.expand}, set: s}
	allow, err := c.condition(text)
	if err != nil {
		return nil, fmt.Errorf("allow_rooms: %w", err)
	}
	return allow, nil
}

var errOnlyEvents = errors.New("it is only allowed in rules for events that clients send")

// compiler compiles one rule.
type compiler struct {
	scope
	set  *Set
	kind ruleKind
	code *code
	end  *int   // the program counter behind the rule
	path string // of the present step, were it JSON

	where    string  // of the present step
	depth    int     // of the present step: how many ifs it stands in
	last     *source // the expression checked last
	facts    facts   // of last
	doubts   doubts  // of last
	reserved string  // a room in last that is refused
	schema   bool    // the rule has a schema
	event    string  // of the rule
	buckets  int     // of its rates so far
	dedupes  bool    // it has a dedupe
}

func (c *compiler) add(o op) {
	c.code.ops = append(c.code.ops, o)
	c.code.lines = append(c.code.lines, c.where)
}

// block compiles steps, which stand at path in JSON. What they declare is
// known in them only.
func (c *compiler) block(steps []Step, path string) error {
	outer := c.scope
	for i, s := range steps {
		c.path = path + ".steps[" + strconv.Itoa(i) + "]"
		where := s.at.or(c.path)
		c.where = where
		if s.Action == nil {
			return placed(where, "the step is missing")
		}
		c.traced(s)
		c.depth++ // of the steps in it
		err := s.Action.compile(c)
		c.depth--
		if IsPlaced(err) {
			return err
		} else if err != nil {
			return placed(where, "%s: %w", actionName(s.Action), err)
		}
	}
	c.scope = outer
	return nil
}

// traced adds an op that tells of s, if anybody listens.
func (c *compiler) traced(s Step) {
	trace := c.set.trace
	if trace == nil {
		return
	}
	place := Place{File: s.at.file, Line: s.at.line, Path: c.path, Step: actionName(s.Action), Depth: c.depth}
	c.add(func(*run) *hub.Refusal {
		trace.Step(place)
		return nil
	})
}

var identifierForm = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)

// declare makes v a variable of the steps that follow, and gives it a slot.
func (c *compiler) declare(v *variable, typ *cel.Type) error {
	if !identifierForm.MatchString(v.name) {
		return fmt.Errorf("%s cannot be a name; write letters, digits and _, beginning with a letter", v.name)
	}
	_, known := roots[v.name]
	if _, declared := c.vars[v.name]; known || declared || typeNames[v.name] {
		return fmt.Errorf("%s is already a variable; choose another name", v.name)
	}
	if _, issues := c.env.Parse(v.name); issues.Err() != nil {
		return fmt.Errorf("%s is a reserved word; choose another name", v.name)
	}
	env, err := c.env.Extend(cel.Variable(v.name, typ))
	if err != nil {
		return err
	}
	vars := maps.Clone(c.vars)
	if vars == nil {
		vars = map[string]*variable{}
	}
	vars[v.name] = v
	v.slot = c.code.slots
	c.code.slots++
	c.env, c.vars = env, vars
	return nil
}

// check parses and type-checks an expression.
func (c *compiler) check(text string) (*source, error) {
	if text == "" {
		return nil, errors.New("the expression is missing")
	}
	src, err := c.scope.check(text)
	if err != nil {
		return nil, err
	}
	c.last, c.facts, c.doubts, c.reserved = src, src.facts(), src.doubts(), src.reservedRoom()
	return src, nil
}

func (c *compiler) condition(text string) (condition, error) {
	src, err := c.check(text)
	if err != nil {
		return nil, err
	}
	if k := src.out.Kind(); k != types.BoolKind && k != types.DynKind {
		return nil, mustBeBool(text, src.out)
	}
	cond, err := src.condition(src.ast.Expr())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	if c.where != "" {
		c.warnOfDoubts(true)
	}
	return cond, nil
}

func (c *compiler) emitter(text string) (emitter, error) {
	src, err := c.check(text)
	if err != nil {
		return nil, err
	}
	c.warnOfUser()
	if k := src.out.Kind(); k == types.TypeKind || k == types.OpaqueKind {
		return nil, fmt.Errorf("%s: a value of type %s cannot be sent", text, src.out)
	}
	c.warnOfDoubts(false)
	e, err := src.emitter(src.ast.Expr())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return e, nil
}

// targets compiles an expression that names rooms; fromClient says whether
// the client has a hand in which.
func (c *compiler) targets(text string) (t targets, fromClient bool, err error) {
	src, err := c.check(text)
	if err != nil {
		return nil, false, err
	}
	c.warnOfUser()
	switch src.out.Kind() {
	case types.StringKind, types.IntKind, types.ListKind, types.DynKind:
	case types.OpaqueKind:
		if src.out.TypeName() == addressType.TypeName() {
			break
		}
		fallthrough
	default:
		return nil, false, fmt.Errorf("%s: a room must be a string, a whole number, an address or a list of them, not %s", text, src.out)
	}
	c.warnOfDoubts(false)
	if t, err = src.targets(); err != nil {
		return nil, false, fmt.Errorf("%s: %w", text, err)
	}
	return t, src.fromClient, nil
}
