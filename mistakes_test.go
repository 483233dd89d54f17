package realtime

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// Each file of testdata/mistakes is a list of cases:
//
//	# what is written wrongly
//	<lines of a realtime block, or a whole Caddyfile that begins with localhost>
//	=> <error>, or one warning a line
//
// A case without => lines is not a mistake, however much it looks like one: no
// error and no warning may come of it. `go test -run Mistakes -update .` writes
// what comes of each case.
func TestMistakesAreExplained(t *testing.T) {
	paths, err := filepath.Glob("testdata/mistakes/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for i, c := range mistakes(string(text)) {
				if i > 0 {
					got.WriteByte('\n')
				}
				fmt.Fprintf(&got, "# %s\n%s%s", c.title, c.text, c.said(t))
			}
			golden(t, path, "", got.Bytes())
		})
	}
}

type mistake struct{ title, text string }

func mistakes(file string) (list []mistake) {
	var at *mistake
	for line := range strings.Lines(strings.TrimRight(file, "\n") + "\n") {
		title, begins := strings.CutPrefix(line, "# ")
		switch {
		case begins:
			list = append(list, mistake{title: strings.TrimSuffix(title, "\n")})
			at = &list[len(list)-1]
		case line == "\n" || strings.HasPrefix(line, "=> "):
		default:
			at.text += line
		}
	}
	return list
}

// realtimeLine is where the cases begin in their Caddyfile.
const realtimeLine = "localhost {\nrealtime {\n"

// said is what the author is told, `=> ` before each line. Lines are counted
// from the beginning of the case.
func (c mistake) said(t *testing.T) string {
	caddyfile, skipped := c.text, 0
	if !strings.HasPrefix(c.text, "localhost") {
		caddyfile, skipped = realtimeLine+c.text+"}\n}\n", strings.Count(realtimeLine, "\n")
	}
	var said []string
	collect := func(h *Handler) {
		for _, w := range h.warnings {
			said = append(said, "warning: "+w.String())
		}
	}
	options := map[string]any{"filename": "Caddyfile", collectOption: collect}
	_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), options)
	if err != nil {
		said = []string{strings.TrimPrefix(err.Error(), "parsing caddyfile tokens for 'realtime': ")}
	}
	var text strings.Builder
	for _, line := range said {
		if strings.Contains(line, "\n") || !strings.Contains(line, "Caddyfile:") {
			t.Errorf("%s: %q is not one line with its place", c.title, line)
		}
		text.WriteString("=> " + linesFrom(line, skipped) + "\n")
	}
	return text.String()
}

var places = regexp.MustCompile(`Caddyfile:(\d+)`)

// linesFrom takes the lines skipped off each place.
func linesFrom(text string, skipped int) string {
	return places.ReplaceAllStringFunc(text, func(place string) string {
		n := 0
		if _, err := fmt.Sscanf(place, "Caddyfile:%d", &n); err != nil {
			return place
		}
		return fmt.Sprintf("Caddyfile:%d", n-skipped)
	})
}

// An option of the realtime block that stands elsewhere is known as such.
func TestOptionsElsewhereAreKnown(t *testing.T) {
	for name := range handlerOptions {
		if namespaceOptions[name] == nil && name != "limits" && !strings.Contains(optionHint("namespace", name, nil), "realtime block") {
			t.Errorf("%s: no hint in a namespace", name)
		}
	}
	for _, h := range foreignOptions {
		for _, name := range h.names {
			if handlerOptions[name] != nil && !strings.Contains(h.instead, "realtime block") {
				t.Errorf("%s is an option", name)
			}
		}
	}
}
