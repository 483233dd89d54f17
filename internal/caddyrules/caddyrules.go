// Package caddyrules hands the tokens of a Caddyfile to package rules, which
// does not know Caddy.
package caddyrules

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/realtime/rules"
)

// Line takes the present line, with the block that it may open, from d.
func Line(d *caddyfile.Dispenser) rules.Line {
	line := rules.Line{Tokens: []rules.Token{token(d)}}
	for d.NextArg() {
		line.Tokens = append(line.Tokens, token(d))
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		line.Block = append(line.Block, Line(d))
	}
	return line
}

func token(d *caddyfile.Dispenser) rules.Token {
	t := d.Token()
	token := rules.Token{Text: t.Text, File: t.File, Line: t.Line}
	switch raw := d.ValRaw(); {
	case len(raw) > len(t.Text):
		token.Quote = rune(raw[0])
	case t.Quoted():
		token.Quote = '`' // a heredoc: an expression on several lines
	}
	return token
}

// Preset reads `on` and `presence` blocks. Errors begin with file and line.
func Preset(file, text string) (p rules.Preset, err error) {
	tokens, err := caddyfile.Tokenize([]byte(text), file)
	if err != nil {
		return p, err
	}
	for d := caddyfile.NewDispenser(tokens); d.Next(); {
		if d.Val() == "presence" {
			p.Presence, err = rules.ParsePresence(Line(d))
		} else {
			var rule rules.Rule
			rule, err = rules.ParseRule(Line(d))
			p.Rules = append(p.Rules, rule)
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}
