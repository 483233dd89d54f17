package rules

import (
	"maps"
	"slices"
	"strings"
)

// StepNames are the names of all steps, sorted.
func StepNames() []string { return slices.Sorted(maps.Keys(actions)) }

// Nearest is the one of words that name is most likely a misspelling of, "" if
// none is near: one letter in three may be wrong, case does not count.
func Nearest(name string, words []string) string {
	const lettersPerError = 3
	best, least := "", len(name)/lettersPerError+1
	for _, word := range words {
		if n := edits(strings.ToLower(name), strings.ToLower(word)); n < least {
			best, least = word, n
		}
	}
	return best
}

// Suggest is the end of a message about an unknown name: the one that it is a
// misspelling of, or all of them.
func Suggest(name, all string, known []string) string {
	if near := Nearest(name, known); near != "" {
		return ": did you mean " + near + "?"
	}
	return "; " + all + " are " + strings.Join(known, ", ")
}

// edits is the number of letters to insert, drop, replace or swap with the next
// one to get from a to b.
func edits(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			replaced := last[j]
			if a[i] != b[j] {
				replaced++
			}
			next[j+1] = min(replaced, last[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, last = last, next
	}
	return last[len(b)]
}
