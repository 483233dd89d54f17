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

// view is a Socket as rules see it.
type view struct{ socket *Socket }

func (v view) ID() string        { return v.socket.id }
func (v view) UserID() string    { return v.socket.UserID }
func (v view) User() []byte      { return v.socket.Claims }
func (v view) Data() []byte      { return v.socket.Data }
func (v view) Handshake() []byte { return v.socket.Handshake }
func (v view) Recovered() bool   { return false }

func (v view) Rooms() []string {
	rooms := []string{v.socket.id}
	if v.socket.UserID != "" {
		rooms = append(rooms, hub.Address{Kind: hub.UserRoom, Name: v.socket.UserID}.WireName())
	}
	return append(rooms, v.socket.Rooms...)
}

func (v view) InRoom(a hub.Address) bool {
	switch a.Kind {
	case hub.SocketRoom:
		return a.Name == v.socket.id
	case hub.UserRoom:
		return a.Name != "" && a.Name == v.socket.UserID
	}
	return slices.Contains(v.socket.Rooms, a.Name)
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
