package hub

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-realtime/realtime/internal/names"
)

// MaxRooms is how many rooms one list may name. In a list of targets, the
// socket's own addresses do not count.
const MaxRooms = 128

const (
	maxRoomBytes = 256

	socketIDBytes = 20 // fixed: Node's sharded adapter knows private rooms by it
	socketPrefix  = "s_"
	userPrefix    = "user:"
)

// AddressKind says what an Address names.
type AddressKind uint8

const (
	Room       AddressKind = iota // a plain room, named by anybody
	UserRoom                      // all sockets of a user: made by user_room(id) only
	SocketRoom                    // one socket: made by socket_room(id) only
)

// Address is a room as rules name it. A plain Room whose name has the form of
// the other two is refused wherever it is used.
type Address struct {
	Kind AddressKind
	Name string // of a UserRoom the user's id, of a SocketRoom the socket's id
}

// newSocketID returns a fresh public socket id: "s_" and 104 random bits.
func newSocketID() string {
	var r [13]byte
	rand.Read(r[:]) // never fails (crypto/rand)
	id := make([]byte, socketIDBytes)
	copy(id, socketPrefix)
	base64.RawURLEncoding.Encode(id[len(socketPrefix):], r[:])
	return string(id)
}

// reserved reports whether a plain name has the form of an address of a user
// or socket. Whoever may choose a name could otherwise read or forge private
// messages.
func reserved(room string) bool {
	return strings.HasPrefix(room, userPrefix) || len(room) == socketIDBytes && strings.HasPrefix(room, socketPrefix)
}

// check refuses an address that must not be used as a target.
func (a Address) check() *Refusal {
	if a.Kind != Room {
		return nil
	}
	switch {
	case reserved(a.Name):
		return &Refusal{Code: Forbidden, Message: "Reserved room name"}
	case a.Name == "" || len(a.Name) > maxRoomBytes || !names.Clean(a.Name):
		return &Refusal{Code: Invalid, Message: "Invalid room name"}
	}
	return nil
}

// Reserved reports whether a plain name is that of a user's or a socket's own
// room, which only their addresses name.
func Reserved(room string) bool { return reserved(room) }

// Resolve makes e what an Emission of that socket sends, or returns why it is
// refused. Plain names of the socket's own addresses, as `socket.rooms` has
// them, become these addresses. The lists in e are not changed.
func (e *Emission) Resolve(from SocketView) (r *Refusal) {
	if e.To, r = resolveTargets(e.To, from); r != nil {
		return r
	}
	e.Except, r = resolveTargets(e.Except, from)
	return r
}

func resolveTargets(list []Address, from SocketView) ([]Address, *Refusal) {
	own := 0
	for i, a := range list {
		if a.Kind == Room && reserved(a.Name) {
			if named, ok := ownAddress(a.Name, from); ok {
				if own == 0 {
					list = slices.Clone(list) // may belong to the policy
				}
				list[i] = named
				own++
			}
		}
	}
	if len(list)-own > MaxRooms { // all rooms of a socket are valid targets
		return nil, TooManyRooms(len(list) - own)
	}
	for _, a := range list {
		if r := a.check(); r != nil {
			return nil, r
		}
	}
	return list, nil
}

// ownAddress is the address of the socket itself that has the plain name.
func ownAddress(name string, s SocketView) (a Address, ok bool) {
	if name == s.ID() {
		return Address{SocketRoom, s.ID()}, true
	}
	if id, ok := strings.CutPrefix(name, userPrefix); ok && id != "" && id == s.UserID() {
		return Address{UserRoom, s.UserID()}, true
	}
	return Address{}, false
}

// TooManyRooms is the refusal of a list of n rooms.
func TooManyRooms(n int) *Refusal {
	return &Refusal{Code: Invalid, Message: fmt.Sprintf("Too many rooms: %d, at most %d", n, MaxRooms)}
}

// checkTargets refuses a list of targets with one that must not be used.
func checkTargets(list []Address) *Refusal {
	if len(list) > MaxRooms {
		return TooManyRooms(len(list))
	}
	for _, a := range list {
		if r := a.check(); r != nil {
			return r
		}
	}
	return nil
}

// checkRooms is checkTargets for rooms to join or leave: plain ones only.
func checkRooms(list []Address) *Refusal {
	for _, a := range list {
		if a.Kind != Room {
			return &Refusal{Code: Forbidden, Message: "Reserved room name"}
		}
	}
	return checkTargets(list)
}

// CheckRooms returns why Join and Leave would refuse the rooms, nil
// if they would not.
func CheckRooms(list []Address) *Refusal { return checkRooms(list) }

// WireName is the room's name as clients and other nodes know it.
func (a Address) WireName() string {
	if a.Kind == UserRoom {
		return userPrefix + a.Name
	}
	return a.Name
}
