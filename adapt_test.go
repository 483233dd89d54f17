package realtime

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-realtime/realtime/rules"
)

var update = flag.Bool("update", false, "write what the Caddyfiles of testdata adapt to beside them")

// adapt turns a Caddyfile into JSON. Its name in errors is Caddyfile.
func adapt(caddyfile []byte) ([]byte, error) {
	text, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(caddyfile, map[string]any{"filename": "Caddyfile"})
	return text, err
}

// golden compares got with the file beside input that ends in ext. A list of all
// steps is <all>, so that a new step changes the files of no other.
func golden(t *testing.T, input, ext string, got []byte) {
	t.Helper()
	got = bytes.ReplaceAll(got, []byte(strings.Join(rules.StepNames(), ", ")), []byte("<all>"))
	path := strings.TrimSuffix(input, ".Caddyfile") + ext
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got:\n%s\nwant (%s):\n%s", got, path, want)
	}
}

// eachCaddyfile runs f for each Caddyfile of testdata/dir.
func eachCaddyfile(t *testing.T, dir string, f func(t *testing.T, path string, content []byte)) {
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.Caddyfile"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".Caddyfile"), func(t *testing.T) {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f(t, path, content)
		})
	}
}

// Input beside expected JSON; `go test -run Adapt -update .` writes the latter.
func TestAdaptGivesTheGoldenJSON(t *testing.T) {
	eachCaddyfile(t, "adapt", func(t *testing.T, path string, content []byte) {
		got, err := adapt(content)
		if err != nil {
			t.Fatal(err)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, got, "", "\t"); err != nil {
			t.Fatal(err)
		}
		golden(t, path, ".json", append(pretty.Bytes(), '\n'))
	})
}

// Every step of the language is in a golden file.
func TestEachStepIsInAGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/adapt/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	for _, step := range rules.StepNames() {
		if !regexp.MustCompile(`"` + step + `": \{`).Match(all) {
			t.Errorf("add the step %s to testdata/adapt/steps.Caddyfile, and run: go test -run Adapt -update .", step)
		}
	}
}

// Input beside the expected message.
func TestAdaptErrorsNameTheLine(t *testing.T) {
	eachCaddyfile(t, "errors", func(t *testing.T, path string, content []byte) {
		_, err := adapt(content)
		if err == nil {
			t.Fatal("adapted without an error")
		}
		if !strings.Contains(err.Error(), "Caddyfile:") {
			t.Errorf("%q names no file and line", err)
		}
		golden(t, path, ".error", []byte(err.Error()+"\n"))
	})
}

var snippets = regexp.MustCompile("(?s)```caddyfile\n(.*?)```")

// Whatever the documents and examples show adapts. Snippets of the documents
// are whole Caddyfiles, or a realtime block.
func TestDocumentedCaddyfilesAdapt(t *testing.T) {
	documents, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range documents {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, snippet := range snippets.FindAllSubmatch(content, -1) {
			t.Run(fmt.Sprint(path, i+1), func(t *testing.T) { mustAdapt(t, snippet[1]) })
		}
	}
	examples, err := filepath.Glob("examples/*Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range examples {
		t.Run(path, func(t *testing.T) {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			mustAdapt(t, content)
		})
	}
}

func mustAdapt(t *testing.T, caddyfile []byte) {
	t.Helper()
	if bytes.HasPrefix(bytes.TrimSpace(caddyfile), []byte("realtime")) {
		caddyfile = fmt.Appendf(nil, "localhost {\n%s\n}\n", caddyfile)
	}
	if _, err := adapt(caddyfile); err != nil {
		t.Errorf("%v in:\n%s", err, caddyfile)
	}
}
