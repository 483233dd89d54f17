package rules_test

import (
	"strings"
	"testing"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/parser"
	"github.com/caddy-realtime/realtime/rules"
)

// A refusal names the line of the step that it comes from.
func TestRefusalNamesItsLine(t *testing.T) {
	own := `on connect {
	require false "No entry"
}
on disconnect {
	set a 1
	emit bye data.x to "r"
	require false
}
on test {
	require data.ok
	if data.deep {
		set a 1
		join data.missing
	}
	rate 1/s
	schema ` + "`{\"required\": [\"text\"]}`" + `
	dedupe data.key 1m
	set n 1
	require false "Late"
}
on question {
	ask answer "really"
	require answer[0]
}`
	for _, tc := range []struct {
		event, args string
		limit       bool
		answer      string
		line        string
		code        hub.Code
	}{
		{event: "connect", args: ``, line: "Caddyfile:2", code: hub.Invalid},
		{event: "disconnect", args: ``, line: "Caddyfile:6", code: hub.Invalid},
		{event: "test", args: `{"ok":false}`, line: "Caddyfile:10", code: hub.Invalid},
		{event: "test", args: `{}`, line: "Caddyfile:10", code: hub.Invalid},
		{event: "test", args: `{"ok":true,"deep":true}`, line: "Caddyfile:13", code: hub.Invalid},
		{event: "test", args: `{"ok":true,"deep":false}`, limit: true, line: "Caddyfile:15", code: hub.RateLimited},
		{event: "test", args: `{"ok":true,"deep":false}`, line: "Caddyfile:16", code: hub.Invalid},
		{event: "test", args: `{"ok":true,"deep":false,"text":1}`, line: "Caddyfile:17", code: hub.Invalid},
		{event: "test", args: `{"ok":true,"deep":false,"text":1,"key":1}`, line: "Caddyfile:19", code: hub.Invalid},
		{event: "question", args: ``, answer: `false`, line: "Caddyfile:23", code: hub.Invalid},
		{event: "unknown", args: ``, line: "", code: hub.UnknownEvent},
	} {
		c := &endingCall{fakeCall: *newCall(tc.event, tc.args)}
		c.limit = tc.limit
		set := compile(t, own, rules.Options{})
		dispatch(set, tc.event, c)
		if tc.answer != "" {
			c.asked(parser.Args{JSON: []byte(tc.answer)}, nil)
		}
		if c.refused == nil || c.refused.Rule != tc.line || c.refused.Code != tc.code {
			t.Errorf("%s %s: %+v, want %s", tc.event, tc.args, c.refused, tc.line)
		}
	}
}

// A preset's rule is named by the preset.
func TestRefusalNamesItsPreset(t *testing.T) {
	preset, err := rules.LoadPreset("chat")
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Compile(nil, [][]rules.Rule{preset.Rules}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &endingCall{fakeCall: *newCall("send-message", `{"roomId":"elsewhere","text":"hi"}`)}
	set.Event(c)
	if c.refused == nil || !strings.HasPrefix(c.refused.Rule, "preset chat:") {
		t.Errorf("%+v", c.refused)
	}
}

// Of several rules for disconnect each may fail, and none hides another.
func TestEachRefusalOnDisconnectIsNamed(t *testing.T) {
	one, err := parse("one", "on disconnect {\n\tset a data.x\n}")
	if err != nil {
		t.Fatal(err)
	}
	two, err := parse("two", "on disconnect {\n\trequire false \"No\" FORBIDDEN\n}")
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Compile(nil, [][]rules.Rule{one, two}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &endingCall{fakeCall: *newCall("disconnect", "")}
	set.Disconnect(c)
	if c.refused == nil || c.refused.Rule != "one:2" || c.refused.Code != hub.Invalid || !strings.Contains(c.refused.Cause.Error(), "two:2: FORBIDDEN: No") {
		t.Errorf("%+v", c.refused)
	}
}

// endingCall keeps how it ended.
type endingCall struct {
	fakeCall
	refused *hub.Refusal
}

func (c *endingCall) End(r *hub.Refusal) { c.refused = r }
