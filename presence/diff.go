package presence

import "slices"

// Diff is what an audience knows of the members of one place, and the users whose
// presence differs from that. A change and its opposite cancel. The zero Diff is
// of an audience that knows no member. Its methods must not be called
// concurrently.
type Diff struct {
	known   []string // sorted
	pending map[string]struct{}
	coming  int // how many of pending are not known
}

// NewDiff is of an audience that knows these members. They are sorted, and the
// Diff keeps the slice.
func NewDiff(known []string) *Diff { return &Diff{known: known} }

// Note says whether the user is a member now.
func (d *Diff) Note(user string, member bool) {
	_, known := slices.BinarySearch(d.known, user)
	_, pending := d.pending[user]
	differs := member != known
	if differs == pending {
		return
	}
	change := -1
	if differs {
		if d.pending == nil {
			d.pending = map[string]struct{}{}
		}
		d.pending[user] = struct{}{}
		change = 1
	} else {
		delete(d.pending, user)
	}
	if !known {
		d.coming += change
	}
}

// Sync notes all differences from members, which are sorted.
func (d *Diff) Sync(members []string) {
	d.pending, d.coming = nil, 0
	for _, user := range members {
		d.Note(user, true)
	}
	for _, user := range d.known {
		if _, member := slices.BinarySearch(members, user); !member {
			d.Note(user, false)
		}
	}
}

// Pending counts the changes that the audience does not know.
func (d *Diff) Pending() int { return len(d.pending) }

// Members counts the members that the audience knows after all changes.
func (d *Diff) Members() int { return len(d.known) + 2*d.coming - len(d.pending) }

// Known lists the members that the audience knows, sorted. It is valid until Take.
func (d *Diff) Known() []string { return d.known }

// Take returns at most that many changes, which the audience knows from now on.
// Each list is sorted.
func (d *Diff) Take(most int) (came, went []string) {
	for user := range d.pending {
		if len(came)+len(went) == most {
			break
		}
		delete(d.pending, user)
		if _, known := slices.BinarySearch(d.known, user); known {
			went = append(went, user)
		} else {
			came = append(came, user)
			d.coming--
		}
	}
	slices.Sort(came)
	slices.Sort(went)
	d.known = slices.DeleteFunc(d.known, func(user string) bool {
		_, gone := slices.BinarySearch(went, user)
		return gone
	})
	d.known = append(d.known, came...)
	slices.Sort(d.known)
	return came, went
}
