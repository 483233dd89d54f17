package recovery

import (
	"cmp"
	"container/heap"
	"container/list"
	"slices"
	"sync"
	"sync/atomic"
)

// Budget is what all hubs of a process keep for recovery together. The zero
// value is an empty one. It is safe for concurrent use, under any lock.
type Budget struct {
	events atomic.Int64 // bytes
	count  atomic.Int64 // of keepers

	mu      sync.Mutex
	keepers map[Keeper]struct{} // those that keep something
	owners  map[any]*owner
	richest owners // a heap of the same
	sockets int    // bytes of all of them
}

// A Keeper keeps events and lost sockets, and can give them up.
type Keeper interface {
	// Kept is what it keeps in bytes, about.
	Kept() int
	// Shed gives up that many bytes, about, or all it has. No lock is held.
	Shed(bytes int)
}

// Keeps notes that k keeps something, or does not any more.
func (b *Budget) Keeps(k Keeper, something bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !something:
		delete(b.keepers, k)
	case b.keepers == nil:
		b.keepers = map[Keeper]struct{}{k: {}}
	default:
		b.keepers[k] = struct{}{}
	}
	b.count.Store(int64(len(b.keepers)))
}

// GrowEvents counts n bytes of events more, or less.
func (b *Budget) GrowEvents(n int) { b.events.Add(int64(n)) }

// Exceeded reports whether more than limit bytes of events are kept, and a
// keeper of which own are has more than an equal share. A keeper to which
// nothing is sent keeps what it has: all together keep less than twice the
// limit.
func (b *Budget) Exceeded(own, limit int) bool {
	return b.events.Load() > int64(limit) && int64(own)*b.count.Load() > int64(limit)
}

// Shed has all keepers give up that many bytes together, each as much of it as
// it has of all, and returns how many bytes are missing, about. It calls the
// keepers: the caller holds no lock.
func (b *Budget) Shed(bytes int) (missing int) {
	type share struct {
		Keeper
		kept int
	}
	b.mu.Lock()
	var all []share
	for k := range b.keepers {
		all = append(all, share{Keeper: k})
	}
	b.mu.Unlock()
	sum := 0
	for i := range all {
		all[i].kept = all[i].Kept()
		sum += all[i].kept
	}
	slices.SortFunc(all, func(a, b share) int { return cmp.Compare(b.kept, a.kept) })
	for _, s := range all {
		if s.kept > 0 {
			s.Shed(int(float64(bytes)*float64(s.kept)/float64(sum)) + 1)
		}
	}
	return max(0, bytes-sum)
}

// Seat is the place of a lost socket in a Budget.
type Seat struct {
	// Socket is what the owner of the Budget put there.
	Socket any

	owner *owner // nil: it was given up. Guarded by Budget.mu
	entry *list.Element
	bytes int
}

// owner is whose lost sockets are counted together.
type owner struct {
	key   any
	seats list.List // of *Seat, the oldest first
	bytes int
	index int // in richest
}

// ownerShare is the part of what is kept for sockets that one owner may have.
const ownerShare = 16

// Seat finds a place for a socket of that owner and size where all sockets
// together may take limit bytes, and one owner, if capped, a share of that. An
// owner's own oldest sockets give way to its newer ones; if all places are
// taken, those of the owner who has most do, unless that is the new one. Who
// gives way is returned: the caller lets go of them. seat is nil if there is no
// place.
func (b *Budget) Seat(key any, socket any, bytes, limit int, capped bool) (seat *Seat, evicted []*Seat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bytes > limit || capped && bytes > limit/ownerShare {
		return nil, nil
	}
	o := b.owners[key]
	for capped && o != nil && o.bytes+bytes > limit/ownerShare {
		evicted = append(evicted, b.evictLocked(o))
		o = b.owners[key]
	}
	for b.sockets+bytes > limit {
		victim, own := b.richest[0], 0
		if o = b.owners[key]; o != nil {
			own = o.bytes
		}
		if victim != o && victim.bytes <= own+bytes {
			if victim = o; victim == nil {
				return nil, evicted
			}
		}
		evicted = append(evicted, b.evictLocked(victim))
	}
	if o = b.owners[key]; o == nil {
		o = &owner{key: key}
		if b.owners == nil {
			b.owners = map[any]*owner{}
		}
		b.owners[key] = o
		heap.Push(&b.richest, o)
	}
	seat = &Seat{Socket: socket, owner: o, bytes: bytes}
	seat.entry = o.seats.PushBack(seat)
	b.growLocked(o, bytes)
	return seat, evicted
}

func (b *Budget) evictLocked(o *owner) *Seat {
	s := o.seats.Front().Value.(*Seat)
	b.leaveLocked(s)
	return s
}

// Leave gives a seat up; it may have been given to another socket.
func (b *Budget) Leave(s *Seat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.owner != nil {
		b.leaveLocked(s)
	}
}

func (b *Budget) leaveLocked(s *Seat) {
	o := s.owner
	o.seats.Remove(s.entry)
	s.owner, s.entry = nil, nil
	b.growLocked(o, -s.bytes)
	if o.seats.Len() == 0 {
		heap.Remove(&b.richest, o.index)
		delete(b.owners, o.key)
	}
}

func (b *Budget) growLocked(o *owner, bytes int) {
	o.bytes += bytes
	b.sockets += bytes
	heap.Fix(&b.richest, o.index)
}

// owners is a heap, the one with the most bytes first.
type owners []*owner

func (h owners) Len() int           { return len(h) }
func (h owners) Less(i, j int) bool { return h[i].bytes > h[j].bytes }
func (h owners) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *owners) Push(x any) {
	o := x.(*owner)
	o.index = len(*h)
	*h = append(*h, o)
}

func (h *owners) Pop() any {
	old := *h
	o := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return o
}
