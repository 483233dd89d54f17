package hub

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxRoomBytes  = 256
	maxTargets    = 128
	socketIDBytes = 20 // fixed: Node's sharded adapter knows private rooms by it
	socketPrefix  = "s_"
	userPrefix    = "user:"
)

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
	case a.Name == "" || len(a.Name) > maxRoomBytes || !utf8.ValidString(a.Name) || strings.ContainsFunc(a.Name, unicode.IsControl):
		return &Refusal{Code: Invalid, Message: "Invalid room name"}
	}
	return nil
}

// checkTargets refuses a list of targets with one that must not be used.
func checkTargets(list []Address) *Refusal {
	if len(list) > maxTargets {
		return &Refusal{Code: Invalid, Message: "Too many rooms"}
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

// CheckRooms returns why Call.Join and Call.Leave would refuse the rooms, nil
// if they would not.
func CheckRooms(list []Address) *Refusal { return checkRooms(list) }

// Check returns why Call.Emit would refuse e, nil if it would not.
func (e *Emission) Check() *Refusal { return checkEmission(e) }

// WireName is the room's name as clients and other nodes know it.
func (a Address) WireName() string {
	if a.Kind == UserRoom {
		return userPrefix + a.Name
	}
	return a.Name
}
