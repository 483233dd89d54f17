package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
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
		return Rule{}, errors.New("a rule must begin with on")
	}
	rule := Rule{at: l.Tokens[0].position()}
	if len(l.Tokens) != 2 {
		return Rule{}, placed(rule.at.or(""), "on: write exactly one event, as in: on hello { … }")
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
		return Step{}, errors.New("the step has no name")
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
		return Step{}, placed(at.or(""), "%s: %w", name, unexpected(r.tokens[0]))
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
	if bare, ok := strings.CutSuffix(t.Text, "{"); ok && bare != "" && t.Quote == 0 && !r.more() {
		return Token{}, errBrace(bare)
	}
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
	if t.Quote == 0 && t.Text == "=" {
		return "", unexpected(t)
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
	switch {
	case t.Quote == '`':
		return "", fmt.Errorf("%s: a name is fixed, it cannot be an expression; write it bare or in double quotes", t.Text)
	case t.Text == "":
		return "", errors.New("a name must not be empty")
	case t.Quote == 0 && len(t.Text) > 1 && strings.HasSuffix(t.Text, "{"):
		return "", errBrace(strings.TrimSuffix(t.Text, "{"))
	case t.Quote == 0 && len(t.Text) > 1 && strings.HasSuffix(t.Text, ","):
		return "", fmt.Errorf("%s: write it without the comma; arguments are separated by spaces", t.Text)
	case t.Quote == 0 && strings.ContainsAny(t.Text, "'()"):
		return "", fmt.Errorf("%s: write names bare or in double quotes, without single quotes and parentheses", t.Text)
	case inName.MatchString(t.Text):
		return "", fmt.Errorf("%s: a name is fixed, nothing is replaced in it", t.Text)
	}
	return t.Text, nil
}

// inName is what people expect to be replaced in a name.
var inName = regexp.MustCompile(`\$\{|\{[a-z_]+\.[^{}\s]+\}`)

func errBrace(before string) error {
	return fmt.Errorf("put a space before the brace: %s {", before)
}

// unexpected is the error for a token that is left over.
func unexpected(t Token) error {
	bare, brace := strings.CutSuffix(t.Text, "{")
	switch {
	case t.Quote != 0:
		return fmt.Errorf("unexpected %q", t.Text)
	case brace && bare != "":
		return errBrace(bare)
	case strings.HasPrefix(t.Text, "//"):
		return errors.New("unexpected //; a comment begins with #")
	case t.Text == "=":
		return errors.New("unexpected =; names and values are separated by spaces")
	}
	return fmt.Errorf("unexpected %s; %s", t.Text, inBackticks)
}

// rooms takes the expression behind a keyword, which a step has once.
func (r *reader) rooms(keyword string, dst *string) (err error) {
	if *dst != "" {
		return fmt.Errorf("%s must not be given twice; write several rooms as one list in backticks: `[\"a\", \"b\"]`", keyword)
	}
	*dst, err = r.expr("the room after " + keyword)
	return err
}

// namespace takes the name after of, which a step has once.
func (r *reader) namespace(dst *string) (err error) {
	if *dst != "" {
		return errors.New("a second of; a step sends to one namespace")
	}
	*dst, err = r.word("the namespace after of")
	return err
}

// text takes a message for people: quoted, or one bare word.
func (r *reader) text(what string) (string, error) {
	t, err := r.next(what)
	if err != nil {
		return "", err
	}
	switch {
	case t.Quote != 0 || bareText.MatchString(t.Text):
		return t.Text, nil
	case operatorForm.MatchString(t.Text):
		return "", unexpected(t)
	case strings.HasPrefix(t.Text, "'"):
		return "", fmt.Errorf("%s must be in double quotes, not in single ones: %s", what, t.Text)
	}
	return "", fmt.Errorf("%s must be in double quotes: %s; %s", what, t.Text, inBackticks)
}

// operatorForm is what only the rest of a split expression can be.
var operatorForm = regexp.MustCompile(`^([=!<>&|+*/%?:-]+|in|and|or)$|\{$|^//`)

// bareText is a message that cannot be the rest of a split expression.
var bareText = regexp.MustCompile(`^[A-Z][\pL\pN_.,!?'-]*$`)

func (r *reader) duration(what string) (Duration, error) {
	t, err := r.next(what)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(t.Text)
	switch _, notNumber := strconv.Atoi(t.Text); {
	case err != nil && notNumber == nil:
		return 0, fmt.Errorf("%s: %w", what, NoUnit(t.Text))
	case err != nil:
		return 0, fmt.Errorf("%s: %s is not a duration; write it as 500ms, 10s, 5m or 1h", what, t.Text)
	case d <= 0:
		return 0, fmt.Errorf("%s: %s must be greater than 0", what, t.Text)
	}
	return Duration(d), nil
}

// NoUnit is the error for a duration that is written as a bare number, as Node's
// options have it.
func NoUnit(number string) error {
	d, err := time.ParseDuration(number + "ms")
	if err != nil || d%time.Second != 0 {
		return fmt.Errorf("%s has no unit; write %[1]sms or %[1]ss", number)
	}
	return fmt.Errorf("%s has no unit; %[1]s milliseconds are written %ds", number, d/time.Second)
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
	return t.Quote == 0 && (t.Text == "to" || t.Text == "except" || t.Text == "of" || t.Text == "volatile")
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
