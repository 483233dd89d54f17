package guard_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/internal/guard"
)

func TestLogIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p guard.Panics
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		logged := func(place string) bool {
			out.Reset()
			p.Note(log, place, "boom", "event", "e")
			return strings.Contains(out.String(), "place="+place+" panic=boom stack=") && strings.Contains(out.String(), " event=e")
		}
		if !logged("a") || !logged("b") {
			t.Error("the first of a place is not logged")
		}
		time.Sleep(59 * time.Second)
		if logged("a") {
			t.Error("one place is logged twice within a minute")
		}
		time.Sleep(time.Second)
		if !logged("a") {
			t.Error("nothing is logged a minute later")
		}
		if p.Count() != 4 {
			t.Errorf("%d counted, want 4", p.Count())
		}
	})
}
