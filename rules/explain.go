package rules

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
)

const inBackticks = "an expression with spaces or quotes must be in backticks"

// explain makes an error of CEL's a line that says what to write instead.
func (s scope) explain(text, message string) error {
	message, _, _ = strings.Cut(message, "\n")
	for _, e := range explanations {
		if parts := e.of.FindStringSubmatch(message); parts != nil {
			if say := e.say(s, text, parts[1:]); say != "" {
				return fmt.Errorf("%s: %s", text, say)
			}
		}
	}
	return fmt.Errorf("%s: %s", text, message)
}

// explanations are what CEL's messages mean; the empty text is for another one
// to say.
var explanations = []struct {
	of  *regexp.Regexp
	say func(s scope, text string, parts []string) string
}{
	{regexp.MustCompile(`^undeclared reference to '([^']*)'`), scope.undeclared},
	{regexp.MustCompile(`^Syntax error: (.*)`), scope.syntax},
	{regexp.MustCompile(`^undefined field '([^']*)'`), scope.noField},
	{regexp.MustCompile(`^reserved identifier: (.*)`), scope.reservedWord},
	{regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(.*)'`), scope.noOverload},
	{regexp.MustCompile(`^expected type 'bool' but found '(.*)'`), scope.noBool},
	{regexp.MustCompile(`^type '(.*)' does not support field selection`), scope.noFields},
	{regexp.MustCompile(`^invalid argument to has\(\) macro`), func(scope, string, []string) string {
		return `has() takes a field, as in has(data.x); whether there is a user is user != null`
	}},
}

func (s scope) undeclared(text string, parts []string) string {
	name, blank := parts[0], withoutStrings(text)
	quoted := regexp.QuoteMeta(name)
	matches := func(pattern string) bool { return regexp.MustCompile(pattern).MatchString(blank) }
	called := matches(`\b` + quoted + `\(`)
	switch {
	case matches(`\.`+quoted+`\(`) && methodHints[name] != "":
		return fmt.Sprintf("there is no function %s; %s", name, methodHints[name])
	case globalHints[name] != "":
		return fmt.Sprintf("undeclared name %s; %s", name, globalHints[name])
	case called && s.isVariable(name):
		return fmt.Sprintf("%s is a variable, not a function; write %s", name, name)
	case called && ownFunctions[name] != "":
		return fmt.Sprintf("%s is not known here; the only variable is room", name)
	case called:
		return fmt.Sprintf("there is no function %s%s", name, s.suggestFunction(name))
	case s.env.HasFunction(name):
		return fmt.Sprintf("%s is a function; write %s(%s)", name, name, parameters(name))
	case matches(`[{,]\s*` + quoted + `\s*:`):
		return fmt.Sprintf(`the keys of a map are strings; write {"%s": …}`, name)
	case matches(`\.\w+(-\w+)*-` + quoted + `\b`):
		return fmt.Sprintf(`undeclared name %s; a field with a dash in its name is selected as data["%s"]`, name, dashed(blank, name))
	case wordWithDashes.MatchString(text):
		return fmt.Sprintf("undeclared name %s; a string needs quotes: %q", name, text)
	case roots[name] != 0 || name == "args":
		return fmt.Sprintf("%s is not known here; the only variable is room", name)
	case nameHints[name] != "" && !s.room:
		return fmt.Sprintf("undeclared name %s; %s; a string needs quotes: %q", name, nameHints[name], name)
	}
	const shortest = 3 // letters: any shorter name is near to some variable
	if near := Nearest(name, s.variables()); near != "" && len(name) >= shortest {
		return fmt.Sprintf("undeclared name %s: did you mean %s? A string needs quotes: %q", name, near, name)
	}
	return fmt.Sprintf("undeclared name %s; a string needs quotes, %q, and a field of the event's first argument is data.%s", name, name, name)
}

var wordWithDashes = regexp.MustCompile(`^\w+(-\w+)+$`)

// dashed is the key that ends in -name.
func dashed(text, name string) string {
	return strings.TrimPrefix(regexp.MustCompile(`\.[\w-]+-`+regexp.QuoteMeta(name)).FindString(text), ".")
}

func (s scope) isVariable(name string) bool { return slices.Contains(s.variables(), name) }

// variables are the names of all that are known here.
func (s scope) variables() (names []string) {
	for _, v := range s.env.Variables() {
		if v.Name() != callVar {
			names = append(names, v.Name())
		}
	}
	slices.Sort(names)
	return names
}

// ownFunctions are those that CEL does not have, with their parameters.
var ownFunctions = map[string]string{
	"uuid": "", "merge": "a, b", "user_room": "id", "socket_room": "id", "in_room": "room", "member_count": "room",
	"members": "room", "online": "", "is_online": "user", "last_seen": "user",
}

func parameters(function string) string {
	if own, ok := ownFunctions[function]; ok {
		return own
	}
	return "x"
}

func (s scope) suggestFunction(name string) string {
	var known []string
	for f := range s.env.Functions() {
		if f[0] >= 'a' && f[0] <= 'z' {
			known = append(known, f)
		}
	}
	slices.Sort(known)
	if near := Nearest(name, known); near != "" {
		return ": did you mean " + near + "?"
	}
	return "; there are CEL's, such as size and string, and " + strings.Join(slices.Sorted(maps.Keys(ownFunctions)), ", ")
}

func (s scope) syntax(text string, parts []string) string {
	if hint := hinted(syntaxHints, withoutStrings(text)); hint != "" {
		return hint
	}
	message, _, _ := strings.Cut(parts[0], " expecting")
	message = parserWords.Replace(message)
	switch {
	case strings.Count(text, `"`)%2 == 1 || strings.Count(text, "'")%2 == 1:
		return "a quote is not closed; a string with spaces must be in double quotes, or in backticks as part of an expression"
	case !strings.ContainsAny(text, " \t\n"):
		return "syntax error: " + message + "; " + inBackticks
	}
	return "syntax error: " + message
}

// parserWords says in plain words what CEL's parser found.
var parserWords = strings.NewReplacer("'<EOF>'", "end of the expression", "mismatched input", "unexpected", "extraneous input", "unexpected",
	"no viable alternative at input", "unexpected", "token recognition error at:", "unexpected")

func (s scope) noField(text string, parts []string) string {
	name, of := parts[0], socketType.TypeName()
	title := "socket"
	if strings.Contains(text, "handshake."+name) {
		title, of = "socket.handshake", handshakeType.TypeName()
	}
	what := fmt.Sprintf("%s has no field %s", title, name)
	if hint := fieldHints[name]; hint != "" {
		return what + "; " + hint
	}
	fields := slices.Sorted(maps.Keys(socketFields[of]))
	if near := Nearest(name, fields); near != "" {
		return fmt.Sprintf("%s: did you mean %s.%s?", what, title, near)
	}
	if of == socketType.TypeName() {
		return fmt.Sprintf("%s; it has %s, and a value that a rule has set is socket.data.%s", what, strings.Join(fields, ", "), name)
	}
	return fmt.Sprintf("%s; it has %s", what, strings.Join(fields, ", "))
}

func (s scope) reservedWord(_ string, parts []string) string {
	if hint := reservedHints[parts[0]]; hint != "" {
		return fmt.Sprintf("%s is a reserved word; %s", parts[0], hint)
	}
	return fmt.Sprintf("%s is a reserved word; a string needs quotes: %q", parts[0], parts[0])
}

// signs are how CEL calls operators, and what they are.
var signs = map[string]string{
	"_+_": "+", "_-_": "-", "_*_": "*", "_/_": "/", "_%_": "%", "_==_": "==", "_!=_": "!=", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">=",
	"_&&_": "&&", "_||_": "||", "!_": "!", "-_": "-", "@in": "in", "_[_]": "[]", "_?_:_": "?:",
}

func (s scope) noOverload(_ string, parts []string) string {
	name, given := parts[0], parts[1]
	if p, own := ownFunctions[name]; own {
		return fmt.Sprintf("%s cannot be called with %s; write %s(%s)", name, given, name, p)
	}
	if strings.HasPrefix(given, socketType.TypeName()) && fieldHints[name] != "" {
		return fmt.Sprintf("socket has no function %s; %s", name, fieldHints[name])
	}
	sign, operator := signs[name]
	if !operator {
		return fmt.Sprintf("%s cannot be called with %s", name, given)
	}
	what := fmt.Sprintf("%s does not take %s", sign, strings.ReplaceAll(strings.Trim(given, "()"), ", ", " and "))
	switch {
	case sign == "+" && strings.Contains(given, "string"):
		return what + "; string(x) makes a string of a number"
	case strings.Contains("== != < <= > >=", sign) && strings.Contains(given, "string"):
		return what + "; compare values of one type, as in x == \"1\" or int(x) == 1"
	}
	return what
}

func (s scope) noBool(text string, parts []string) string {
	if strings.Contains(withoutStrings(text), "||") {
		return fmt.Sprintf(`|| takes conditions, not %s; a default is written has(data.x) ? data.x : "default"`, parts[0])
	}
	return fmt.Sprintf(`a condition must be true or false, this is %s; compare it, as in x != ""`, parts[0])
}

func (s scope) noFields(text string, parts []string) string {
	switch {
	case regexp.MustCompile(`\.length\b`).MatchString(text):
		return `write size(x) instead of x.length`
	case strings.HasPrefix(parts[0], "list"):
		return "a list has no fields; its elements are x[0], x[1] …"
	}
	return fmt.Sprintf("a value of type %s has no fields", parts[0])
}

// withoutStrings is an expression with blanks for what its strings contain.
func withoutStrings(text string) string {
	out := []byte(text)
	var quote byte
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0:
		case c == quote:
			quote = 0
		case c == '\\' && i+1 < len(out):
			out[i], out[i+1] = ' ', ' '
			i++
		default:
			out[i] = ' '
		}
	}
	return string(out)
}

var simple = regexp.MustCompile(`^[\w.\[\]()]+$`)

// mustBeBool says that a condition is of another type.
func mustBeBool(text string, t *cel.Type) error {
	const wrong = "%s: a condition must be true or false, this is %s"
	shown := text
	if !simple.MatchString(text) {
		shown = "x"
	}
	switch t.TypeName() {
	case "string":
		return fmt.Errorf(wrong+`; compare it: %s != ""`, text, "a string", shown)
	case "int", "double":
		return fmt.Errorf(wrong+"; compare it: %s > 0", text, "a number", shown)
	case "list":
		return fmt.Errorf(wrong+"; compare its size: size(%s) > 0", text, "a list", shown)
	case "map", socketType.TypeName(), handshakeType.TypeName():
		return fmt.Errorf(wrong, text, "a map")
	}
	return fmt.Errorf(wrong, text, t)
}

var errUserCondition = errors.New("user is the claims of a token or null, not true or false; write user != null")
