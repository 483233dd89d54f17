package hub

import (
	"sync"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/parser"
)

// codecID numbers the codecs, so that a broadcast can keep one encoding each.
type codecID uint8

const (
	socketIO codecID = iota
	plainJSON
	codecCount
)

var codecs = [codecCount]struct {
	parser.Codec
	kind engine.Kind
}{
	socketIO:  {parser.SocketIO, engine.EngineIO},
	plainJSON: {parser.PlainJSON, engine.PlainText},
}

// outgoing is a packet on its way to any number of sockets of one namespace,
// encoded once for each codec that they use. It belongs to one goroutine.
type outgoing struct {
	packet   parser.Packet
	frames   [codecCount]*engine.Frames
	volatile bool
	offset   []byte   // in the history, for clients that can be recovered; nil: none
	stamp    [24]byte // where offset lies
}

var outgoings = sync.Pool{New: func() any { return new(outgoing) }}

func newOutgoing(p parser.Packet) *outgoing {
	o := outgoings.Get().(*outgoing)
	o.packet = p
	return o
}

// free gives o back; the frames live on in the outboxes.
func (o *outgoing) free() {
	*o = outgoing{}
	outgoings.Put(o)
}

var scratch = sync.Pool{New: func() any { return new([]byte) }}

// maxScratch keeps one large message from being remembered for ever.
const maxScratch = 64 << 10

func (o *outgoing) encoded(c codecID) *engine.Frames {
	f := o.frames[c]
	if f == nil {
		buf := scratch.Get().(*[]byte)
		p := &o.packet
		if o.offset != nil && c == socketIO {
			p = withOffset(p, o.offset)
		}
		head, binary, attachments := codecs[c].Encode((*buf)[:0], p)
		f = engine.NewFrames(codecs[c].kind, head, binary, attachments)
		o.frames[c] = f
		if cap(head) <= maxScratch {
			*buf = head
			scratch.Put(buf)
		}
	}
	return f
}

func (o *outgoing) deliver(b *engine.Batch, s *engine.Session, c codecID) {
	if o.volatile {
		s.SendVolatile(b, o.encoded(c))
	} else {
		s.Send(b, o.encoded(c))
	}
}

// emit sends o from a socket, or from nobody, to the targets of e. The
// targets are those of one moment during the call.
func (n *Namespace) emit(b *engine.Batch, from *Socket, e *Emission, o *outgoing) {
	skip := from
	if !e.NotSelf {
		skip = nil
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	h, keep := &n.history, false
	if h.on() && !e.transient {
		h.mu.Lock()
		defer h.mu.Unlock()
		keep = h.keepsLocked(from, e)
	}
	n.spendLocked(b, from, e, e.Args.Len(), keep)
	if h.on() && !e.transient {
		h.recordLocked(from, e, o, keep)
	}
	switch {
	case e.Scope == ToSelf:
		if from != nil && from.joined {
			o.deliver(b, from.session(), from.client().codec)
		}
	case len(e.Except) == 0 && e.Scope == ToAll:
		n.all.deliver(b, o, skip)
	case len(e.Except) == 0 && len(e.To) == 1:
		n.deliverLocked(b, o, e.To[0], skip)
	default:
		n.deliverDistinctLocked(b, o, e, skip)
	}
}

func (r *room) deliver(b *engine.Batch, o *outgoing, skip *Socket) {
	for i := range r.members {
		if m := &r.members[i]; m.socket != skip {
			o.deliver(b, m.session, m.codec)
		}
	}
}

func (n *Namespace) deliverLocked(b *engine.Batch, o *outgoing, a Address, skip *Socket) {
	if r := n.roomLocked(a); r != nil {
		r.deliver(b, o, skip)
	} else if s := n.socketLocked(a); s != nil && s != skip {
		o.deliver(b, s.session(), s.client().codec)
	}
}

// deliverDistinctLocked sends to a union of rooms less the exceptions: each
// socket once.
func (n *Namespace) deliverDistinctLocked(b *engine.Batch, o *outgoing, e *Emission, skip *Socket) {
	seen := make(map[*Socket]struct{}, len(e.Except))
	if skip != nil {
		seen[skip] = struct{}{}
	}
	for _, a := range e.Except {
		n.eachLocked(a, func(s *Socket) { seen[s] = struct{}{} })
	}
	once := func(s *Socket) {
		if _, ok := seen[s]; !ok {
			seen[s] = struct{}{}
			o.deliver(b, s.session(), s.client().codec)
		}
	}
	if e.Scope == ToAll {
		n.all.each(once)
		return
	}
	for _, a := range e.To {
		n.eachLocked(a, once)
	}
}

func (r *room) each(f func(*Socket)) {
	for i := range r.members {
		f(r.members[i].socket)
	}
}

func (n *Namespace) eachLocked(a Address, f func(*Socket)) {
	if r := n.roomLocked(a); r != nil {
		r.each(f)
	} else if s := n.socketLocked(a); s != nil {
		f(s)
	}
}

func (n *Namespace) roomLocked(a Address) *room {
	switch a.Kind {
	case Room:
		return n.rooms[a.Name]
	case UserRoom:
		return n.users[a.Name]
	}
	return nil
}

// socketLocked finds a socket by its own room, which is kept by byID alone.
func (n *Namespace) socketLocked(a Address) *Socket {
	if a.Kind != SocketRoom {
		return nil
	}
	return n.byID[a.Name]
}
