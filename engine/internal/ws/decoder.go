package ws

// A Decoder assembles the frames of a client into messages, and keeps input
// that was read and not decoded yet. While there is none, it holds no memory.
// Its zero value is ready to use. It is not safe for concurrent use.
//
// A caller reads into Buffer, takes frames off with Parse and Add, and gives
// what is left to Keep: the begin of a frame or, if it does not want to go on,
// whole frames. Those are the Backlog, which comes before further input.
type Decoder struct{ partial *partial }

type partial struct {
	buf        []byte // input that was not decoded, from off
	off        int
	backlog    bool   // whole frames are among it
	end        error  // what ended the input after it
	message    []byte // the payloads of the fragments so far
	counted    int    // the size that was reported last
	op         byte   // of the message; 0: none has begun
	compressed bool
}

// A Frame is a whole message or a control frame.
type Frame struct {
	Op         byte
	Compressed bool
	Payload    []byte // unmasked
}

// Add decodes the frame with the header h that data begins with, in place.
// whole reports whether it completes f: the frame itself if it is a control
// frame, or a message of at most limit bytes, before it is inflated. The payload
// is in data or in memory that the Decoder has let go of.
func (d *Decoder) Add(h Header, data []byte, limit int) (f Frame, whole bool, err error) {
	payload := data[h.length:h.Frame()]
	mask(payload, h.mask)
	begun := d.partial != nil && d.partial.op != 0
	switch {
	case h.op >= OpClose:
		return Frame{Op: h.op, Payload: payload}, true, nil
	case (h.op == OpContinuation) != begun:
		return Frame{}, false, errContinuation
	case h.fin && !begun:
		return Frame{h.op, h.compressed, payload}, true, nil
	case d.partial == nil:
		d.partial = &partial{}
	}
	p := d.partial
	if !begun {
		p.op, p.compressed = h.op, h.compressed
	}
	if len(p.message)+len(payload) > limit {
		return Frame{}, false, ErrTooBig
	}
	p.message = append(p.message, payload...)
	if !h.fin {
		return Frame{}, false, nil
	}
	f = Frame{p.op, p.compressed, p.message}
	p.op, p.message = 0, nil
	return f, true, nil
}

// Incomplete reports whether a frame or a message has begun and further input
// must complete it.
func (d *Decoder) Incomplete() bool { return d.partial != nil && !d.partial.backlog }

// HasBacklog reports whether whole frames were kept.
func (d *Decoder) HasBacklog() bool { return d.partial != nil && d.partial.backlog }

// Backlog is the input that begins with the whole frames that were kept.
func (d *Decoder) Backlog() []byte { return d.partial.buf[d.partial.off:] }

// Buffer returns where to read to: in[off:], which is buf or the Decoder's own
// memory. in[:off] is the begin of a frame, so that in[:off+n] is what to
// decode after reading n bytes. off is 0 while there is a backlog.
func (d *Decoder) Buffer(buf []byte) (in []byte, off int) {
	if d.partial == nil || len(d.partial.buf) == 0 || d.partial.backlog {
		return buf, 0
	}
	rest := d.partial.buf
	if len(rest) <= len(buf)/2 {
		return buf, copy(buf, rest)
	}
	// A large frame grows where it is, by what has really arrived.
	if len(rest) == cap(rest) {
		rest = append(rest, 0)[:len(rest)]
		d.partial.buf = rest
	}
	return rest[:cap(rest)], len(rest)
}

// Keep stores rest, what is left of the input or of the backlog; backlog says
// whether it begins with a whole frame. It returns by how many bytes the
// Decoder's memory has grown since that was reported last.
func (d *Decoder) Keep(rest []byte, backlog bool) (grown int) {
	was := d.partial
	switch p := was; {
	case p != nil && backlog && p.backlog: // rest is the end of p.buf
		p.off = len(p.buf) - len(rest)
	case len(rest) > 0:
		if p == nil {
			p = &partial{}
			d.partial = p
		}
		p.buf, p.off = append(p.buf[:0], rest...), 0
	case p != nil:
		p.buf, p.off = nil, 0
		if p.op == 0 && p.end == nil {
			d.partial = nil
		}
	}
	if d.partial != nil {
		d.partial.backlog = backlog
	}
	return d.grown(was)
}

// Append stores data after the backlog. It returns what Keep does.
func (d *Decoder) Append(data []byte) (grown int) {
	d.partial.buf = append(d.partial.buf, data...)
	return d.grown(d.partial)
}

// End notes that err, if it is not nil, has ended the input. It returns the first
// error that was noted after the input that is kept.
func (d *Decoder) End(err error) error {
	if d.partial == nil {
		return err
	}
	if d.partial.end == nil {
		d.partial.end = err
	}
	return d.partial.end
}

// Drop discards everything. It returns what Keep does.
func (d *Decoder) Drop() (grown int) {
	was := d.partial
	d.partial = nil
	return d.grown(was)
}

// grown compares with what was reported last, of was.
func (d *Decoder) grown(was *partial) (grown int) {
	if was != nil {
		grown, was.counted = -was.counted, 0
	}
	if p := d.partial; p != nil {
		p.counted = cap(p.buf) + cap(p.message)
		grown += p.counted
	}
	return grown
}
