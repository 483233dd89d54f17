package hub

import (
	"errors"
	"strconv"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

// A plain WebSocket client is in the main namespace from the start. Only where
// a token is needed and none came with the request, it first says who it is.

// openPlain connects a plain client to the main namespace, or leaves it to the
// client's auth frame.
func (c *client) openPlain() {
	ns, _ := c.hub.acquire(mainNamespace)
	if ns != nil {
		defer c.hub.release(ns)
		if _, err := c.authenticate(ns, nil); errors.Is(err, auth.ErrNoToken) {
			return
		}
	}
	b := engine.NewBatch()
	defer b.Flush()
	c.connect(b, mainNamespace, nil)
}

// plainOpen is the packet that says that a plain client is connected:
// {"open": {"socket": id, "user": claims or null, "ping": milliseconds}}.
func (s *Socket) plainOpen() parser.Packet {
	data := rawjson.AppendQuote([]byte(`{"socket":`), s.id)
	data = append(data, `,"user":`...)
	if user := s.User(); user != nil {
		data = append(data, user...)
	} else {
		data = append(data, "null"...)
	}
	data = append(data, `,"ping":`...)
	data = strconv.AppendInt(data, s.ns.hub.config.Load().Engine.PingInterval.Milliseconds(), 10)
	return parser.Packet{Type: parser.PlainOpen, ID: parser.NoID, Data: append(data, '}')}
}
