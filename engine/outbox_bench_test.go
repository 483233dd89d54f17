package engine_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/caddy-realtime/realtime/engine"
)

// BenchmarkOutbox writes what is queued on 100 sessions: one message each, or
// as many as share a write. One operation is one delivery. A pipe is a
// connection that cannot be tried, as one over TLS is.
func BenchmarkOutbox(b *testing.B) {
	for _, by := range []struct {
		name string
		site func(testing.TB, engine.Config) *site
	}{
		{"tcp", func(tb testing.TB, c engine.Config) *site { return serve(tb, c) }},
		{"pipe", pipe},
	} {
		for _, window := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/window=%d", by.name, window), func(b *testing.B) {
				benchmarkOutbox(b, by.site(b, still), window)
			})
		}
	}
}

func benchmarkOutbox(b *testing.B, s *site, window int) {
	const sessions = 100
	c := gather(b, s, sessions)
	text := bytes.Repeat([]byte("x"), 190)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += window * sessions {
		var frames []*engine.Frames
		for range window {
			frames = append(frames, engine.NewFrames(engine.EngineIO, text, false, nil))
		}
		c.broadcast(frames...)
	}
}
