package parser

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const placeholder0 = `{"_placeholder":true,"num":0}`

func TestBuilderRenumbersPlaceholders(t *testing.T) {
	incoming := [][]byte{{10}, {11}, {12}}
	cases := []struct {
		name  string
		build func(b *Builder)
		json  string
		bin   string
		err   error
	}{
		{"nothing", func(b *Builder) {}, ``, `[]`, nil},
		{"verbatim", func(b *Builder) { b.AddRaw([]byte(` 1.0 ,{"a" : [ ]}`), nil) }, ` 1.0 ,{"a" : [ ]}`, `[]`, nil},
		{"literal placeholder as data", func(b *Builder) { b.AddRaw([]byte(placeholder0), nil) }, placeholder0, `[]`, nil},
		{"malformed placeholder as data", func(b *Builder) { b.AddRaw([]byte(`{"_placeholder":true}`), nil) }, `{"_placeholder":true}`, `[]`, nil},
		{"renumbered", func(b *Builder) {
			b.AddRaw([]byte(`{ "x": {"num":2,"_placeholder":true} , "y":[{"_placeholder":true,"num":1}]}`), incoming)
		}, `{ "x": {"_placeholder":true,"num":0} , "y":[{"_placeholder":true,"num":1}]}`, `[0c 0b]`, nil},
		{"twice", func(b *Builder) {
			b.AddRaw([]byte(placeholder0), incoming)
			b.NextArg()
			b.AddRaw([]byte(placeholder0), incoming)
		}, `{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}`, `[0a 0a]`, nil},
		{"from two packets", func(b *Builder) {
			b.AddRaw([]byte(placeholder0), incoming)
			b.NextArg()
			b.AddRaw([]byte(placeholder0), [][]byte{{20}})
		}, `{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}`, `[0a 14]`, nil},
		{"literal text with bytes", func(b *Builder) {
			b.NextArg()
			b.JSON = append(b.JSON, `{"a":`...)
			b.AddBytes([]byte{1})
			b.JSON = append(b.JSON, `}`...)
			b.NextArg()
			b.JSON = append(b.JSON, `null`...)
		}, `{"a":{"_placeholder":true,"num":0}},null`, `[01]`, nil},
		{"value without binary of a binary packet", func(b *Builder) { b.AddRaw([]byte(`"x"`), incoming) }, `"x"`, `[]`, nil},
		{"out of range", func(b *Builder) { b.AddRaw([]byte(`{"_placeholder":true,"num":3}`), incoming) }, ``, ``, ErrPlaceholder},
		{"literal beside binary", func(b *Builder) {
			b.AddRaw([]byte(placeholder0), nil)
			b.AddBytes(nil)
		}, ``, ``, ErrPlaceholder},
		{"literal of a higher number beside binary", func(b *Builder) {
			b.AddBytes(nil)
			b.NextArg()
			b.AddRaw([]byte(`{"_placeholder":true,"num":1}`), nil)
		}, ``, ``, ErrPlaceholder},
		{"escaped literal beside binary", func(b *Builder) {
			b.AddBytes(nil)
			b.NextArg()
			b.AddRaw([]byte(`[{"a":1,"_pl\u0061ceholder": true}]`), nil)
		}, ``, ``, ErrPlaceholder},
		{"ten", func(b *Builder) {
			for range 10 {
				b.NextArg()
				b.AddBytes(nil)
			}
		}, `*`, `[         ]`, nil},
		{"eleven", func(b *Builder) {
			for range 11 {
				b.NextArg()
				b.AddBytes(nil)
			}
		}, ``, ``, ErrTooManyAttachments},
	}
	var b Builder
	for _, c := range cases {
		b.Reset()
		c.build(&b)
		a, err := b.Args()
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil && (string(a.JSON) != c.json && c.json != "*" || fmt.Sprintf("%x", a.Bin) != c.bin) {
			t.Errorf("%s: %s %x", c.name, a.JSON, a.Bin)
		}
	}
}

func TestBuilderAllocatesNothing(t *testing.T) {
	var b Builder
	raw := []byte(`{"a":` + placeholder0 + `}`)
	bin := [][]byte{{1}}
	build := func(bin [][]byte) {
		b.Reset()
		b.NextArg()
		b.AddRaw(raw, bin)
		if _, err := b.Args(); err != nil {
			t.Error(err)
		}
	}
	build(bin)
	if allocs := testing.AllocsPerRun(100, func() { build(nil) }); allocs != 0 {
		t.Errorf("plain: %v allocations", allocs)
	}
	if allocs := testing.AllocsPerRun(100, func() { build(bin) }); allocs != 0 {
		t.Errorf("binary: %v allocations", allocs)
	}
}

func TestBuilderForgetsBinary(t *testing.T) {
	var b Builder
	b.AddBytes([]byte("secret"))
	a, _ := b.Args()
	b.Reset()
	if a.Bin[0] != nil {
		t.Error("Reset keeps a binary value alive")
	}
}

func BenchmarkBuilder(b *testing.B) {
	var builder Builder
	raw := []byte(`{"text":"` + strings.Repeat("x", 100) + `"}`)
	b.ReportAllocs()
	for b.Loop() {
		builder.Reset()
		builder.NextArg()
		builder.AddRaw(raw, nil)
		if _, err := builder.Args(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestLooksBinaryFindsEveryPlaceholder(t *testing.T) {
	for json, want := range map[string]bool{
		`1`:                             false,
		`"_placeholder"`:                false,
		`{"_placeholder":false}`:        false,
		`{"a":"\u0061"}`:                false,
		`{"_placeholder":true}`:         true,
		placeholder0:                    true,
		`[{"x":{"_placeholder":true}}]`: true,
		`{"\u005fplaceholder":true}`:    true,
	} {
		if got := LooksBinary([]byte(json)); got != want {
			t.Errorf("%s: %v", json, got)
		}
	}
}
