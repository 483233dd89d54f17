package rules

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
)

// presets are rules that ship with the module: each as people write and read
// it, and as JSON that the test of their equality makes of that.
//
//go:embed presets/*.caddyfile presets/*.json
var presets embed.FS

const (
	presetsDir   = "presets/"
	presetSuffix = ".caddyfile"
)

// PresetNames are the names that LoadPreset knows, sorted.
func PresetNames() []string {
	files, err := fs.Glob(presets, presetsDir+"*"+presetSuffix)
	if err != nil {
		return nil // the pattern is constant
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(strings.TrimPrefix(f, presetsDir), presetSuffix)
	}
	return files
}

// Preset is what one preset brings.
type Preset struct {
	Rules    []Rule    `json:"rules,omitempty"`
	Presence *Presence `json:"presence,omitempty"` // what it fills in that the configuration leaves out; may be nil
}

// PresetSource is the text of a preset, options of a Caddyfile with comments. ok is false if there is none of that name.
func PresetSource(name string) (source string, ok bool) {
	text, err := presets.ReadFile(presetsDir + name + presetSuffix)
	return string(text), err == nil
}

// LoadPreset returns a preset, which is the caller's.
func LoadPreset(name string) (p Preset, err error) {
	text, err := presets.ReadFile(presetsDir + name + ".json")
	if err != nil {
		return p, fmt.Errorf("unknown preset %s%s", name, Suggest(name, "the presets", PresetNames()))
	}
	return p, json.Unmarshal(text, &p)
}
