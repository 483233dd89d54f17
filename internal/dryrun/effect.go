package dryrun

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddy-realtime/realtime/hub"
)

// Effect is one thing that a step would do.
type Effect struct {
	Do        string          `json:"do"` // the step's name
	Event     string          `json:"event,omitempty"`
	Args      json.RawMessage `json:"args,omitempty"`
	To        string          `json:"to,omitempty"` // sender, all or rooms
	Rooms     []string        `json:"rooms,omitempty"`
	Except    []string        `json:"except,omitempty"`
	Namespace string          `json:"namespace,omitempty"` // another than the socket's
	NotSender bool            `json:"not_sender,omitempty"`
	Volatile  bool            `json:"volatile,omitempty"`
	Duration  string          `json:"duration,omitempty"` // window of batch, timeout of ask
	Key       string          `json:"key,omitempty"`
	Value     json.RawMessage `json:"value,omitempty"` // of set, let and log; the answer of ask
	All       bool            `json:"all,omitempty"`   // disconnect ends the whole connection

	text string
}

// String tells it in words.
func (e Effect) String() string { return e.text }

func (e Effect) emission() string {
	text := e.Event + string(e.Args) + " to "
	switch e.To {
	case "sender":
		text += "the sender"
	case "all":
		text += "all"
	default:
		text += list(e.Rooms)
	}
	if e.Namespace != "" {
		text += " of " + e.Namespace
	}
	if len(e.Except) > 0 {
		text += " except " + list(e.Except)
	}
	if e.NotSender {
		text += ", not to the sender"
	}
	if e.Volatile {
		text += ", if they can take it now"
	}
	return text
}

func list(rooms []string) string {
	if len(rooms) == 0 {
		return "nobody"
	}
	return strings.Join(rooms, ", ")
}

// names are addresses as rules write them.
func names(rooms []hub.Address) []string {
	var out []string
	for _, a := range rooms {
		switch a.Kind {
		case hub.UserRoom:
			out = append(out, fmt.Sprintf("user_room(%q)", a.Name))
		case hub.SocketRoom:
			out = append(out, fmt.Sprintf("socket_room(%q)", a.Name))
		default:
			out = append(out, a.Name)
		}
	}
	return out
}
