package parser

// MaxAttachments is the number of binary values of an outgoing packet: stock
// clients drop the connection above it.
const MaxAttachments = 10

// A Builder puts the arguments of an outgoing packet together from JSON text,
// from values of incoming packets with their binary values, and from new
// binary values. It numbers placeholders anew. The zero value is ready; it is
// not safe for concurrent use.
type Builder struct {
	// JSON is what was built so far. Text that is appended to it must be part
	// of valid JSON in valid UTF-8.
	JSON []byte

	bin [][]byte
	err error
}

// Reset empties the builder and keeps its memory, except that of binary
// values. What Args returned is invalid from then on.
func (b *Builder) Reset() {
	b.JSON = b.JSON[:0]
	clear(b.bin)
	b.bin = b.bin[:0]
	b.err = nil
}

// NextArg begins an argument, which must follow: it separates it from those
// before it.
func (b *Builder) NextArg() {
	if len(b.JSON) > 0 {
		b.JSON = append(b.JSON, ',')
	}
}

// AddRaw appends a value, or several separated by commas, of an incoming
// packet whose binary values are bin: the bytes as they are, except that
// placeholders are numbered anew and their binary values, which are not
// copied, join those of the builder. If bin is empty, what looks like a
// placeholder is plain data.
func (b *Builder) AddRaw(json []byte, bin [][]byte) {
	if len(bin) == 0 {
		b.JSON = append(b.JSON, json...)
		return
	}
	copied := 0
	for {
		p, found, err := nextPlaceholder(json, copied)
		if err != nil || found && p.num >= len(bin) {
			b.fail(ErrPlaceholder)
			return
		}
		if !found {
			b.JSON = append(b.JSON, json[copied:]...)
			return
		}
		b.JSON = append(b.JSON, json[copied:p.start]...)
		b.AddBytes(bin[p.num])
		copied = p.end
	}
}

// AddBytes appends a binary value, which is not copied.
func (b *Builder) AddBytes(v []byte) {
	if len(b.bin) == MaxAttachments {
		b.fail(ErrTooManyAttachments)
		return
	}
	b.JSON = appendPlaceholder(b.JSON, len(b.bin))
	b.bin = append(b.bin, v)
}

func (b *Builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// Args returns the arguments, which are valid until the next Reset.
// ErrTooManyAttachments: more than MaxAttachments binary values.
// ErrPlaceholder: a placeholder named a binary value that is not there, or
// plain data that looks like a placeholder stands beside binary values, where
// clients would take it for one.
func (b *Builder) Args() (Args, error) {
	if b.err != nil {
		return Args{}, b.err
	}
	if len(b.bin) > 0 {
		if err := checkPlaceholders(b.JSON, len(b.bin)); err != nil {
			return Args{}, err
		}
	}
	return Args{JSON: b.JSON, Bin: b.bin}, nil
}
