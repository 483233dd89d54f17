package realtime

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Names, reasons and values of clients reach logs, and with them whatever
// characters they like: those of C1, which some terminals obey as they do
// escape sequences, and those that reverse the direction of text. Encoders of
// logs escape C0 alone.

// printableLog is log with what cannot be printed escaped in the values of
// attributes.
func printableLog(log *slog.Logger) *slog.Logger { return slog.New(printableHandler{log.Handler()}) }

type printableHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h printableHandler) Handle(ctx context.Context, r slog.Record) error {
	var attrs []slog.Attr
	changed := false
	r.Attrs(func(a slog.Attr) bool {
		safe, was := printableAttr(a)
		changed = changed || was
		attrs = append(attrs, safe)
		return true
	})
	if changed {
		safe := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
		safe.AddAttrs(attrs...)
		r = safe
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h printableHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	attrs = slices.Clone(attrs)
	for i, a := range attrs {
		attrs[i], _ = printableAttr(a)
	}
	return printableHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h printableHandler) WithGroup(name string) slog.Handler {
	return printableHandler{h.Handler.WithGroup(name)}
}

// printableAttr reports whether it had to change a.
func printableAttr(a slog.Attr) (safe slog.Attr, changed bool) {
	if a.Key == "stack" { // of a panic: the runtime's own lines
		return a, false
	}
	v := a.Value.Resolve()
	var text string
	switch v.Kind() {
	case slog.KindString:
		text = v.String()
	case slog.KindAny:
		err, ok := v.Any().(error)
		if !ok {
			return a, false
		}
		text = err.Error()
	default:
		return a, false
	}
	shown := printable(text)
	if shown == text {
		return a, false
	}
	return slog.String(a.Key, shown), true
}

// printable is text with each character that is not printed, invalid bytes
// among them, as an escape sequence of Go.
func printable(text string) string {
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd"):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == utf8.RuneError, !hidden(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// hidden reports whether r is not printed: control and formatting characters and
// separators of lines, or may stand for an invalid byte.
func hidden(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
