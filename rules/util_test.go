package rules_test

import "strings"

func repeat(s string, n int) string { return strings.Repeat(s, n) }

// short cuts a long text for an error message.
func short(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}
