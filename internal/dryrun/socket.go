package dryrun

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caddy-realtime/realtime/hub"
)

// Socket is the client whose event is run. The zero value is an anonymous one
// in no room.
type Socket struct {
	Namespace string          // default "/"
	UserID    string          // "" if anonymous
	Claims    json.RawMessage // JSON object; nil if anonymous
	Rooms     []string        // plain ones
	Data      json.RawMessage // JSON object socket.data; default {}
	Handshake json.RawMessage // JSON object whose keys replace those of the default

	id string
}

// socketID is that of a socket that is alone.
const socketID = "s_dryrun000000000000"

// peer is a Socket as rules see it.
type peer struct{ socket *Socket }

func (p peer) ID() string        { return p.socket.id }
func (p peer) Namespace() string { return p.socket.Namespace }
func (p peer) UserID() string    { return p.socket.UserID }
func (p peer) User() []byte      { return p.socket.Claims }
func (p peer) Data() []byte      { return p.socket.Data }
func (p peer) Handshake() []byte { return p.socket.Handshake }
func (p peer) Recovered() bool   { return false }

func (p peer) Rooms() []string {
	rooms := []string{p.socket.id}
	if p.socket.UserID != "" {
		rooms = append(rooms, hub.Address{Kind: hub.UserRoom, Name: p.socket.UserID}.WireName())
	}
	return append(rooms, p.socket.Rooms...)
}

func (p peer) InRoom(a hub.Address) bool {
	switch a.Kind {
	case hub.SocketRoom:
		return a.Name == p.socket.id
	case hub.UserRoom:
		return a.Name != "" && a.Name == p.socket.UserID
	}
	return slices.Contains(p.socket.Rooms, a.Name)
}

// complete gives what was left out its default.
func (s *Socket) complete() error {
	if s.id == "" {
		s.id = socketID
	}
	if s.Namespace == "" {
		s.Namespace = "/"
	}
	if s.Data == nil {
		s.Data = json.RawMessage(`{}`)
	}
	handshake := map[string]json.RawMessage{
		"auth": json.RawMessage(`{}`), "query": json.RawMessage(`{}`), "headers": json.RawMessage(`{}`),
		"address": json.RawMessage(`"127.0.0.1"`), "time": json.RawMessage(`"Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)"`),
		"issued": json.RawMessage(`0`), "url": json.RawMessage(`"/socket.io/"`), "secure": json.RawMessage(`false`), "xdomain": json.RawMessage(`false`),
	}
	if s.Handshake != nil {
		if err := json.Unmarshal(s.Handshake, &handshake); err != nil {
			return fmt.Errorf("decoding the handshake: %w", err)
		}
	}
	var err error
	s.Handshake, err = json.Marshal(handshake)
	return err
}
