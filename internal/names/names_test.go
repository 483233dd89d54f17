package names_test

import (
	"testing"

	"github.com/caddy-realtime/realtime/internal/names"
)

func TestOnlyTextWithoutControlCharactersIsClean(t *testing.T) {
	for s, want := range map[string]bool{
		"": true, "a b": true, "é😀": true, "\u00a0": true, "\u200b": true, "\ufffd": true,
		"\x00": false, "a\nb": false, "\x1f": false, "\x7f": false, "\u0080": false, "\u009f": false,
		"\xff": false, "\xc2": false, "\xed\xa0\x80": false,
	} {
		if names.Clean(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}
