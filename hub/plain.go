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
// it could have a token, and none came with the request, its first frame
// decides: {"auth": {…}}, or any other to go on without.

// openPlain connects a plain client to the main namespace, or leaves it to the
// client's first frame.
func (c *client) openPlain() {
	if c.needsAuthFrame() {
		c.silent = true
		return
	}
	b := engine.NewBatch()
	defer b.Flush()
	c.connect(b, mainNamespace, nil)
}

func (c *client) needsAuthFrame() bool {
	ns, _ := c.hub.acquire(mainNamespace)
	if ns == nil {
		return false
	}
	defer c.hub.release(ns)
	if ns.spec.Load().Auth == nil {
		return false
	}
	identity, err := c.authenticate(ns, nil)
	return identity == nil && (err == nil || errors.Is(err, auth.ErrNoToken))
}

// firstPlain connects a client whose first frame, p, says nothing of a token.
func (c *client) firstPlain(b *engine.Batch, p *parser.Packet) {
	c.silent = false
	if p.Type != parser.PlainAuth {
		c.connect(b, mainNamespace, nil)
	}
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
