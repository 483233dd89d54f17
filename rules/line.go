package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Token is a word of a Caddyfile.
type Token struct {
	Text  string // without its quotes
	Quote rune   // 0, '"' or '`'
	File  string
	Line  int
}

// Line is a line of a Caddyfile, with the lines of the block that it opens.
type Line struct {
	Tokens []Token
	Block  []Line
}

// ParseRule reads `on <event> { <steps> }`. Errors begin with file and line.
// Expressions are kept as text: Compile checks them.
func ParseRule(l Line) (Rule, error) {
	if len(l.Tokens) == 0 || l.Tokens[0].Text != "on" {
		return Rule{}, errors.New("a rule begins with on")
	}
	rule := Rule{at: l.Tokens[0].position()}
	if len(l.Tokens) != 2 {
		return Rule{}, placed(rule.at.or(""), "on: exactly one event is expected")
	}
	event, err := word(l.Tokens[1])
	if err != nil {
		return Rule{}, placed(rule.at.or(""), "on: %w", err)
	}
	rule.Event = event
	rule.Steps, err = parseSteps(l.Block)
	return rule, err
}

func parseSteps(block []Line) ([]Step, error) {
	var steps []Step
	for _, l := range block {
		s, err := parseStep(l)
		if err != nil {
			return nil, err
		}
		steps = append(steps, s)
	}
	return steps, nil
}

func parseStep(l Line) (Step, error) {
	if len(l.Tokens) == 0 {
		return Step{}, errors.New("an empty line as a step")
	}
	name, at := l.Tokens[0].Text, l.Tokens[0].position()
	action, err := newAction(name)
	if err != nil {
		return Step{}, placed(at.or(""), "%w", err)
	}
	r := &reader{tokens: l.Tokens[1:], block: l.Block}
	err = action.parse(r)
	switch {
	case IsPlaced(err): // within its block
		return Step{}, err
	case err != nil:
		return Step{}, placed(at.or(""), "%s: %w", name, err)
	case r.more():
		return Step{}, placed(at.or(""), "%s: unexpected %s; an expression with spaces or quotes stands in backticks", name, r.tokens[0].Text)
	case len(r.block) > 0:
		return Step{}, placed(at.or(""), "%s takes no block", name)
	}
	return Step{Action: action, at: at}, nil
}

func (t Token) position() position { return position{file: t.File, line: t.Line} }

// reader takes the tokens of one step.
type reader struct {
	tokens []Token
	block  []Line
}

// more reports whether a token is left.
func (r *reader) more() bool { return len(r.tokens) > 0 }

func (r *reader) next(what string) (Token, error) {
	if !r.more() {
		return Token{}, fmt.Errorf("%s is missing", what)
	}
	t := r.tokens[0]
	r.tokens = r.tokens[1:]
	return t, nil
}

// keyword takes the next token if it is the bare word given.
func (r *reader) keyword(word string) bool {
	if !r.more() || r.tokens[0].Quote != 0 || r.tokens[0].Text != word {
		return false
	}
	r.tokens = r.tokens[1:]
	return true
}

// expr takes an expression: bare, in backticks, or a string in double quotes.
func (r *reader) expr(what string) (string, error) {
	t, err := r.next(what)
	if err != nil {
		return "", err
	}
	return t.expr(), nil
}

// optionalExpr takes an expression if a token is left.
func (r *reader) optionalExpr() (string, error) {
	if !r.more() {
		return "", nil
	}
	return r.expr("an expression")
}

// expr is the CEL source of a token.
func (t Token) expr() string {
	if t.Quote == '"' {
		return strconv.Quote(t.Text)
	}
	return t.Text
}

// word takes the name of an event or key: bare or in double quotes.
func (r *reader) word(what string) (string, error) {
	t, err := r.next(what)
	if err != nil {
		return "", err
	}
	return word(t)
}

func word(t Token) (string, error) {
	if t.Quote == '`' {
		return "", fmt.Errorf("%s: a name, not an expression, is expected", t.Text)
	}
	if t.Text == "" {
		return "", errors.New("a name is empty")
	}
	return t.Text, nil
}

// rooms takes the expression behind a keyword, which a step has once.
func (r *reader) rooms(keyword string, dst *string) (err error) {
	if *dst != "" {
		return fmt.Errorf("a second %s; several rooms are one list, in backticks: `[\"a\", \"b\"]`", keyword)
	}
	*dst, err = r.expr("a room behind " + keyword)
	return err
}

// text takes a message for people: quoted, or one bare word.
func (r *reader) text(what string) (string, error) {
	t, err := r.next(what)
	if err != nil {
		return "", err
	}
	if t.Quote == 0 && !bareText.MatchString(t.Text) {
		return "", fmt.Errorf("%s stands in double quotes, and an expression with spaces in backticks; this is neither: %s", what, t.Text)
	}
	return t.Text, nil
}

// bareText is a message that cannot be the rest of a split expression.
var bareText = regexp.MustCompile(`^[A-Z][\pL\pN_.,!?'-]*$`)

func (r *reader) duration(what string) (Duration, error) {
	t, err := r.next(what)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(t.Text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s: %s is no duration such as 500ms or 10s", what, t.Text)
	}
	return Duration(d), nil
}

// Duration is a time.Duration; in JSON a string such as "10s", or a number of
// nanoseconds.
type Duration time.Duration

// MarshalJSON writes the string form.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads either form.
func (d *Duration) UnmarshalJSON(data []byte) error {
	if text, err := strconv.Unquote(string(data)); err == nil {
		v, err := time.ParseDuration(text)
		*d = Duration(v)
		return err
	}
	return json.Unmarshal(data, (*time.Duration)(d))
}

// isTail reports whether the tokens of an emission's arguments end here.
func (r *reader) isTail() bool {
	if !r.more() {
		return true
	}
	t := r.tokens[0]
	return t.Quote == 0 && (t.Text == "to" || t.Text == "except" || t.Text == "volatile")
}

// args takes the arguments of an event up to its targets.
func (r *reader) args() []string {
	var args []string
	for !r.isTail() {
		args = append(args, r.tokens[0].expr())
		r.tokens = r.tokens[1:]
	}
	return args
}
