package rules

import (
	"embed"
	"fmt"
	"strings"
)

// presets are rules that ship with the module, in the language of all others.
//
//go:embed presets/*.caddyfile
var presets embed.FS

const presetSuffix = ".caddyfile"

// PresetNames are the names that Preset knows, sorted.
func PresetNames() []string {
	files, err := presets.ReadDir("presets")
	if err != nil {
		return nil // they are part of the program
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), presetSuffix))
	}
	return names
}

// Preset is what one preset brings.
type Preset struct {
	Rules    []Rule
	Presence *Presence // what it fills in that the configuration leaves out; may be nil
}

// PresetSource is the text of a preset, options of a Caddyfile with comments. ok is false if there is none of that name.
func PresetSource(name string) (source string, ok bool) {
	text, err := presets.ReadFile("presets/" + name + presetSuffix)
	return string(text), err == nil
}

// LoadPreset returns a preset.
func LoadPreset(name string) (Preset, error) {
	source, ok := PresetSource(name)
	if !ok {
		return Preset{}, fmt.Errorf("unknown preset %s%s", name, Suggest(name, "the presets", PresetNames()))
	}
	return parse("preset "+name, source)
}

// parse reads the text of a file of `on` and `presence` blocks, written as in
// a Caddyfile but without its imports, snippets, placeholders and heredocs.
// file is for errors.
func parse(file, text string) (p Preset, err error) {
	l := &lexer{file: file, rest: text, line: 1}
	lines, err := l.block(false)
	if err != nil {
		return p, err
	}
	for _, line := range lines {
		if line.Tokens[0].Text == "presence" {
			p.Presence, err = ParsePresence(line)
		} else {
			var rule Rule
			rule, err = ParseRule(line)
			p.Rules = append(p.Rules, rule)
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// lexer splits text into tokens as the Caddyfile's does.
type lexer struct {
	file string
	rest string
	line int
}

// block takes lines up to a closing brace, if inside, or the end.
func (l *lexer) block(inside bool) ([]Line, error) {
	var lines []Line
	for {
		tokens, opens, closes, err := l.tokens()
		if err != nil {
			return nil, err
		}
		if closes {
			if !inside || len(tokens) > 0 {
				return nil, l.errorf("unexpected closing brace")
			}
			return lines, nil
		}
		if len(tokens) == 0 && l.rest == "" {
			if inside {
				return nil, l.errorf("a closing brace is missing")
			}
			return lines, nil
		}
		if len(tokens) == 0 {
			continue
		}
		line := Line{Tokens: tokens}
		if opens {
			if line.Block, err = l.block(true); err != nil {
				return nil, err
			}
		}
		lines = append(lines, line)
	}
}

// tokens takes the tokens up to the end of the line, or to a brace that stands
// alone and opens or closes a block.
func (l *lexer) tokens() (tokens []Token, opens, closes bool, err error) {
	for {
		l.rest = strings.TrimLeft(l.rest, " \t\r")
		switch {
		case l.rest == "":
			return tokens, false, false, nil
		case l.rest[0] == '#':
			end := strings.IndexByte(l.rest+"\n", '\n')
			l.rest = l.rest[end:]
		case l.rest[0] == '\n':
			l.rest, l.line = l.rest[1:], l.line+1
			return tokens, false, false, nil
		default:
			t, err := l.token()
			if err != nil {
				return nil, false, false, err
			}
			if t.Quote == 0 && (t.Text == "{" || t.Text == "}") {
				return tokens, t.Text == "{", t.Text == "}", nil
			}
			tokens = append(tokens, t)
		}
	}
}

// token takes one token.
func (l *lexer) token() (Token, error) {
	t := Token{File: l.file, Line: l.line}
	quote := l.rest[0]
	if quote != '"' && quote != '`' {
		end := strings.IndexAny(l.rest+"\n", " \t\r\n")
		t.Text, l.rest = l.rest[:end], l.rest[end:]
		return t, nil
	}
	t.Quote = rune(quote)
	var text strings.Builder
	for i := 1; i < len(l.rest); i++ {
		c := l.rest[i]
		switch {
		case c == quote:
			t.Text, l.rest = text.String(), l.rest[i+1:]
			return t, nil
		case c == '\\' && quote == '"' && i+1 < len(l.rest) && l.rest[i+1] == '"':
			i++ // an escaped quote
			c = '"'
		case c == '\n':
			l.line++
		}
		text.WriteByte(c)
	}
	return t, l.errorf("a closing quote is missing")
}

func (l *lexer) errorf(format string, args ...any) error {
	return placed(position{file: l.file, line: l.line}.or(""), format, args...)
}
