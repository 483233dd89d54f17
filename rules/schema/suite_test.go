package schema

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// suite is the directory of the official JSON Schema Test Suite, draft 2020-12,
// in a module that only this test needs, for its data: go.mod does not name it.
func suite(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", "github.com/google/jsonschema-go@v0.4.3")
	cmd.Dir = t.TempDir()
	out, err := cmd.Output()
	var module struct{ Dir, Error string }
	if err := errors.Join(err, json.Unmarshal(out, &module)); err != nil {
		t.Fatalf("downloading the suite: %v %s", err, module.Error)
	}
	return filepath.Join(module.Dir, "jsonschema", "testdata", "draft2020-12")
}

// refusals are what schemas of the suite are refused for, by a part of the error,
// and how many of the suite's 1,099 tests that concerns.
var refusals = map[string]int{
	"cannot refer to another document": 44,
	"$dynamicRef is not supported":     35,
}

const inSuite = 1099

// What is not refused has the suite's verdict, without exception.
func TestAcceptedSchemasHaveTheSuitesVerdict(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(suite(t), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	passed, refused := 0, map[string]int{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var groups []struct {
			Description string
			Schema      json.RawMessage
			Tests       []struct {
				Description string
				Data        json.RawMessage
				Valid       bool
			}
		}
		if err := json.Unmarshal(content, &groups); err != nil {
			t.Fatal(err)
		}
		for _, group := range groups {
			name := filepath.Base(file) + ": " + group.Description
			s, err := Parse(group.Schema)
			if err != nil {
				refused[reason(t, name, err)] += len(group.Tests)
				continue
			}
			for _, test := range group.Tests {
				err := s.Validate(test.Data, nil, always)
				var violation *Violation
				if err != nil && !errors.As(err, &violation) || (err == nil) != test.Valid {
					t.Errorf("%s: %s: %v, want valid=%v", name, test.Description, err, test.Valid)
					continue
				}
				passed++
			}
		}
	}
	total := passed
	for _, n := range refused {
		total += n
	}
	if !maps.Equal(refused, refusals) || total != inSuite {
		t.Errorf("%d of %d passed, refused: %v", passed, total, refused)
	}
}

func reason(t *testing.T, name string, err error) string {
	for part := range refusals {
		if strings.Contains(err.Error(), part) {
			return part
		}
	}
	t.Errorf("%s: %v", name, err)
	return ""
}
