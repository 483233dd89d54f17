package ws

import (
	"bytes"
	"compress/flate"
	"io"
	"math"
	"sync"
)

// A Deflate is what was negotiated for the messages to one client. The zero value
// compresses nothing.
type Deflate struct{ min, max int32 } // sizes of the runs of frames that are compressed

// NewDeflate compresses messages of at least threshold bytes, for a client whose
// window has windowBits bits. That window may be smaller than the one of
// compress/flate, so larger messages stay as they are: within a message that fits
// into the window, nothing refers further back.
func NewDeflate(threshold, windowBits int) Deflate {
	r := Deflate{int32(min(threshold, math.MaxInt32)), math.MaxInt32}
	if windowBits < maxWindowBits {
		r.max = 1 << windowBits
	}
	return r
}

// Negotiated reports whether messages may be compressed, in both directions.
func (d Deflate) Negotiated() bool { return d.min > 0 }

// Applies reports whether Frames is worth its time for size bytes of frames.
func (d Deflate) Applies(size int) bool {
	return d.Negotiated() && size >= int(d.min) && size <= int(d.max)
}

// Frames returns frames, made by AppendFrame, with each message of at least the
// threshold compressed, unless that makes it larger.
func (d Deflate) Frames(frames []byte) []byte { return deflateFrames(frames, int(d.min)) }

// deflateTail ends every compressed message and is left out of it, RFC 7692
// section 7.2.1. A reader gets it back, and a final empty block with it.
var deflateTail = []byte{0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff}

type deflater struct {
	buf bytes.Buffer
	w   *flate.Writer
}

var deflaters = sync.Pool{New: func() any {
	d := &deflater{}
	// The level is valid, so there is no error.
	d.w, _ = flate.NewWriter(&d.buf, flate.BestSpeed)
	return d
}}

func deflateFrames(frames []byte, threshold int) []byte {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	out := make([]byte, 0, len(frames)/2)
	for rest := frames; len(rest) > 0; {
		var op byte
		var message []byte
		op, message, rest = CutFrame(rest)
		first, payload := finBit|op, message
		if len(message) >= threshold {
			if p, ok := d.deflate(message); ok && len(p) < len(message) {
				first, payload = first|rsv1Bit, p
			}
		}
		out = appendHeader(out, first, len(payload))
		out = append(out, payload...)
	}
	return out
}

func (d *deflater) deflate(message []byte) (p []byte, ok bool) {
	d.buf.Reset()
	d.w.Reset(&d.buf)
	if _, err := d.w.Write(message); err != nil {
		return nil, false
	}
	if err := d.w.Flush(); err != nil {
		return nil, false
	}
	p, ok = bytes.CutSuffix(d.buf.Bytes(), deflateTail[:4])
	return p, ok
}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

// Inflate appends the decompressed message to dst, which ends up with at most
// limit bytes: ErrTooBig comes while inflating, not after.
func Inflate(dst, message []byte, limit int) ([]byte, error) {
	r := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(r)
	in := io.MultiReader(bytes.NewReader(message), bytes.NewReader(deflateTail))
	if err := r.(flate.Resetter).Reset(in, nil); err != nil {
		return dst, errInflate
	}
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):min(cap(dst), limit+1)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > limit:
			return dst[:0], ErrTooBig
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst[:0], errInflate
		}
	}
}
