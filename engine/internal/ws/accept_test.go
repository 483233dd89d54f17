package ws_test

import (
	"testing"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
)

// RFC 7692 sections 5.1 and 7.1: what is agreed to is named in the answer; an
// offer that cannot be met is declined, and the next one is looked at.
func TestCompressionIsAgreedByTheRFC(t *testing.T) {
	const (
		base = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
		none = ""
	)
	for offers, want := range map[string]string{
		"permessage-deflate":                                                         base,
		"permessage-deflate; client_max_window_bits":                                 base,
		"permessage-deflate ;client_max_window_bits = 8":                             base,
		`permessage-deflate;client_max_window_bits="15"`:                             base,
		"permessage-deflate; server_no_context_takeover; client_no_context_takeover": base,
		"permessage-deflate; server_max_window_bits=15":                              base + "; server_max_window_bits=15",
		"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12":   base + "; server_max_window_bits=12",
		`permessage-deflate; client_no_context_takeover; server_max_window_bits="8"`: base + "; server_max_window_bits=8",
		", ,permessage-deflate,\t,":                                                  base,
		"x-webkit-deflate-frame, permessage-deflate":                                 base,
		`foo; bar="baz"; qux, permessage-deflate; server_max_window_bits=10`:         base + "; server_max_window_bits=10",
		"permessage-deflate; unknown, permessage-deflate":                            base,
		"permessage-deflate; server_max_window_bits=7, permessage-deflate":           base,
		"permessage-deflate; server_max_window_bits=9, permessage-deflate":           base + "; server_max_window_bits=9",
		"permessage-deflate; server_max_window_bits=16;client_max_window_bits, foo":  none,
		"permessage-deflate; server_max_window_bits":                                 none,
		"permessage-deflate; server_max_window_bits=7":                               none,
		"permessage-deflate; server_max_window_bits=08":                              none,
		"permessage-deflate; server_max_window_bits=+9":                              none,
		"permessage-deflate; server_max_window_bits=1e1":                             none,
		"permessage-deflate; server_max_window_bits=99999999999999999999":            none,
		"permessage-deflate; server_max_window_bits=12; server_max_window_bits=12":   none,
		"permessage-deflate; client_max_window_bits=7":                               none,
		"permessage-deflate; client_max_window_bits=16":                              none,
		"permessage-deflate; client_max_window_bits; client_max_window_bits=15":      none,
		"permessage-deflate; server_no_context_takeover=1":                           none,
		"permessage-deflate; client_no_context_takeover=true":                        none,
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover": none,
		"permessage-deflate; unknown=1":                                              none,
		"permessage-deflate2":                                                        none,
		"x-permessage-deflate":                                                       none,
		"x-webkit-deflate-frame":                                                     none,
		"foo; permessage-deflate":                                                    none,
		"permessage-deflate;":                                                        none, // from here on malformed
		"permessage-deflate; =15":                                                    none,
		"permessage-deflate; server_max_window_bits=":                                none,
		`permessage-deflate; server_max_window_bits=""`:                              none,
		`permessage-deflate; server_max_window_bits="15`:                             none,
		"permessage-deflate permessage-deflate":                                      none,
		"permessage-deflate, a=b":                                                    none,
		`permessage-deflate, "`:                                                      none,
		"":                                                                           none,
	} {
		got, windowBits := ws.AcceptDeflate([]string{offers})
		if got != want || (windowBits > 0) != (want != none) {
			t.Errorf("%q: answered %q with a window of %d bits, want %q", offers, got, windowBits, want)
		}
	}
	if got, _ := ws.AcceptDeflate([]string{"permessage-deflate; unknown", "permessage-deflate"}); got != base {
		t.Errorf("two headers: answered %q", got)
	}
	if _, bits := ws.AcceptDeflate([]string{"permessage-deflate; server_max_window_bits=9"}); bits != 9 {
		t.Errorf("a window of %d bits, want 9", bits)
	}
}
