package rules_test

import (
	"testing"

	"github.com/caddy-realtime/realtime/rules"
)

func TestNearestSuggestsForSmallMistakes(t *testing.T) {
	words := []string{"broadcast", "emit", "if", "join", "leave", "let", "origins"}
	for name, want := range map[string]string{
		"brodcast": "broadcast", "Broadcast": "broadcast", "boradcast": "broadcast", "emti": "emit", "orgins": "origins",
		"e": "", "fi": "", "set": "let", "exit": "emit", "replay": "", "äöü": "", "": "",
	} {
		if got := rules.Nearest(name, words); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
