// Package names says which names of users, rooms and namespaces may leave the
// server: to other clients, to logs and to other nodes.
package names

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxUser is the length of a user's id, in bytes.
const MaxUser = 128

// Clean reports whether s is UTF-8 without control characters (C0, DEL, C1).
func Clean(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
