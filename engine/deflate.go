package engine

import (
	"bytes"
	"compress/flate"
	"io"
	"math"
	"sync"
)

// deflateRange is how many bytes a run of frames has that is compressed for a
// connection. It is empty if permessage-deflate was not negotiated.
type deflateRange struct{ min, max int32 }

// newDeflateRange keeps to a window that is smaller than that of compress/flate
// by leaving larger messages as they are: within a message that fits into the
// window, nothing refers further back.
func newDeflateRange(threshold, windowBits int) deflateRange {
	r := deflateRange{int32(min(threshold, math.MaxInt32)), math.MaxInt32}
	if windowBits < maxWindowBits {
		r.max = 1 << windowBits
	}
	return r
}

func (r deflateRange) negotiated() bool { return r.min > 0 }

func (r deflateRange) has(size int) bool {
	return r.negotiated() && size >= int(r.min) && size <= int(r.max)
}

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

// deflateFrames returns finished frames with each message of at least so many
// bytes compressed, unless that makes it larger.
func deflateFrames(frames []byte, least int) []byte {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	out := make([]byte, 0, len(frames)/2)
	for rest := frames; len(rest) > 0; {
		var op byte
		var message []byte
		op, message, rest = nextFrame(rest)
		first, payload := finBit|op, message
		if len(message) >= least {
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

// inflate appends the decompressed message to dst, which ends up with limit
// bytes at most: errTooBig comes while inflating, not after.
func inflate(dst, message []byte, limit int) ([]byte, error) {
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
			return dst[:0], errTooBig
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst[:0], errInflate
		}
	}
}
