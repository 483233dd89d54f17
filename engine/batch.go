package engine

import (
	"slices"
	"sync"
	"time"

	"github.com/caddy-realtime/realtime/engine/internal/netpoll"
)

const (
	gatherSize = 64 << 10  // bytes that one write takes at most, unless one Frames is larger
	batchLimit = 128 << 10 // queued messages after which a batch is written in between
	batchBytes = 256 << 10 // bytes queued on one session after which it is, too
	keepText   = 256 << 10 // bytes of an inflated message that a pooled batch keeps room for

	// A long flush yields to waiting input after writeTurn for each connection
	// that the batch serves: messages of many small rooms go out together, and
	// one broadcast to a thousand does not delay other clients. The clock is
	// read every writesUnasked writes.
	writeTurn     = instant(250 * time.Microsecond)
	writesUnasked = 16
)

// A Batch collects the sessions on which messages were queued, so that what
// is ready together goes out together: one system call a session, however
// many messages. It belongs to one goroutine. The engine passes one to every
// Receiver call and flushes it; code that sends from elsewhere uses NewBatch
// and must Flush. No lock that a Receiver takes may be held across Flush.
type Batch struct {
	dirty  []*Session
	queued int           // messages since the last write
	inputs int           // connections that were served since the last write
	now    instant       // when the input arrived that is being handled; 0: none is
	cost   time.Duration // what the present message takes of its account, in the time in which that comes back
	full   bool          // a session that can be written has more queued than is good for memory

	// The bytes of gathered, for the next session that has the same to write,
	// as all members of a room do.
	gathered []*Frames
	buf      []byte

	try      netpoll.Try
	tryWrite func(c *conn, p []byte) (int, error)

	slab []byte // where a worker reads
	text []byte // where compressed messages are inflated
}

var batches = sync.Pool{New: func() any {
	b := &Batch{}
	b.try.Init()
	b.tryWrite = func(c *conn, p []byte) (int, error) { // made once: it is an allocation
		return b.try.Write(&c.Socket, p, c.session.config.WriteTimeout)
	}
	return b
}}

// NewBatch returns an empty batch.
func NewBatch() *Batch { return batches.Get().(*Batch) }

// Flush writes what was queued and releases the batch: the caller must not
// use it again. It does not block: a session whose connection takes no more
// is handed to a goroutine.
func (b *Batch) Flush() {
	b.write()
	b.now = 0
	if cap(b.text) > keepText {
		b.text = nil
	}
	batches.Put(b)
}

// write flushes and keeps the batch.
func (b *Batch) write() {
	var began instant
	for i := 0; i < len(b.dirty); i++ {
		s := b.dirty[i]
		s.flush(b)
		if i%writesUnasked == writesUnasked-1 {
			began = s.server.yield(began, writeTurn*instant(max(b.inputs, 1)))
		}
	}
	clear(b.dirty)
	b.dirty = b.dirty[:0]
	b.forget()
	b.queued, b.inputs, b.full = 0, 0, false
}

// forget lets go of the messages that buf was made of.
func (b *Batch) forget() {
	clear(b.gathered)
	b.gathered = b.gathered[:0]
}

// flushIfLarge writes if much is queued. It is called between messages.
func (b *Batch) flushIfLarge() {
	if b.full || b.queued > batchLimit {
		b.write()
	}
}

// gather joins what pending, less its first skip bytes, puts on c: as much as
// fits one write, at least some.
func (b *Batch) gather(c *conn, pending []*Frames, skip int) []byte {
	first := pending[0].on(c)[skip:]
	if len(pending) == 1 || len(first) >= gatherSize {
		return first
	}
	same := skip == 0 && !c.deflate.Negotiated()
	if same && slices.Equal(b.gathered, pending) {
		return b.buf
	}
	b.forget()
	if b.buf == nil {
		b.buf = make([]byte, 0, gatherSize)
	}
	b.buf = append(b.buf[:0], first...)
	for i, f := range pending[1:] {
		p := f.on(c)
		if len(b.buf)+len(p) > gatherSize {
			return b.buf
		}
		b.buf = append(b.buf, p...)
		if same && i == len(pending)-2 {
			b.gathered = append(b.gathered, pending...)
		}
	}
	return b.buf
}
