package presence

import "slices"

// Told is what an audience knows of the members of one place, and whose
// presence differs from it. A change and its opposite cancel. The zero value
// is an audience that was told of nobody. It is not safe for concurrent use.
type Told struct {
	known   []string // sorted
	pending map[string]struct{}
	coming  int // how many of pending are not known
}

// Knows returns a Told of an audience that knows these members, which are
// sorted, and which it keeps.
func Knows(members []string) *Told { return &Told{known: members} }

// Note says that the user is a member now, or that it is none.
func (t *Told) Note(user string, member bool) {
	_, known := slices.BinarySearch(t.known, user)
	_, pending := t.pending[user]
	differs := member != known
	if differs == pending {
		return
	}
	change := -1
	if differs {
		if t.pending == nil {
			t.pending = map[string]struct{}{}
		}
		t.pending[user] = struct{}{}
		change = 1
	} else {
		delete(t.pending, user)
	}
	if !known {
		t.coming += change
	}
}

// Sync notes all differences from members, which are sorted.
func (t *Told) Sync(members []string) {
	t.pending, t.coming = nil, 0
	for _, user := range members {
		t.Note(user, true)
	}
	for _, user := range t.known {
		if _, member := slices.BinarySearch(members, user); !member {
			t.Note(user, false)
		}
	}
}

// Pending counts the changes that the audience does not know of.
func (t *Told) Pending() int { return len(t.pending) }

// Members counts those who are members once the audience is told all.
func (t *Told) Members() int { return len(t.known) + 2*t.coming - len(t.pending) }

// Known lists whom the audience knows, sorted. It is valid until Take.
func (t *Told) Known() []string { return t.known }

// Take returns changes that the audience is told now, at most so many, each
// list sorted.
func (t *Told) Take(most int) (came, went []string) {
	for user := range t.pending {
		if len(came)+len(went) == most {
			break
		}
		delete(t.pending, user)
		if _, known := slices.BinarySearch(t.known, user); known {
			went = append(went, user)
		} else {
			came = append(came, user)
			t.coming--
		}
	}
	slices.Sort(came)
	slices.Sort(went)
	t.known = slices.DeleteFunc(t.known, func(user string) bool {
		_, gone := slices.BinarySearch(went, user)
		return gone
	})
	t.known = append(t.known, came...)
	slices.Sort(t.known)
	return came, went
}
