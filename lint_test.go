package realtime

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// Input beside the expected warnings.
func TestLints(t *testing.T) {
	eachCaddyfile(t, "lints", func(t *testing.T, path string, content []byte) {
		var got strings.Builder
		collect := func(h *Handler) {
			for _, w := range h.warnings {
				got.WriteString(w.String() + "\n")
			}
		}
		options := map[string]any{"filename": "Caddyfile", collectOption: collect}
		if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(content, options); err != nil {
			t.Fatal(err)
		}
		golden(t, path, ".warnings", []byte(got.String()))
	})
}
