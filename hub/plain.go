package hub

import (
	"strconv"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

// A plain WebSocket client is in the main namespace from the start. Only where
// it could have a token, and none came with the request, its first frame
// decides: {"auth": {…}}, or any other to go on without.

// openPlain connects a plain client to the main namespace, by the token that
// came with its request or, if none did, when its first frame has come.
func (c *client) openPlain() {
	b := engine.NewBatch()
	defer b.Flush()
	s, a := c.begin(b, mainNamespace, nil)
	if s == nil {
		return
	}
	if a != nil {
		c.silent = true
		s.tenure = &tenure{tentative: true} // nobody else knows s yet
	}
	s.identify(b, a, nil)
}

// firstPlain takes notice of the first frame of a client that was silent.
func (c *client) firstPlain(b *engine.Batch, p *parser.Packet) {
	c.silent = false
	s := c.socket(mainNamespace)
	switch {
	case p.Type != parser.PlainAuth && (s == nil || !s.insist()):
		c.connect(b, mainNamespace, nil)
	case p.Type == parser.PlainAuth && s != nil && s.isTentative(): // it would have no token
		c.forget(s)
		s.leave(b, "client namespace disconnect")
	}
}

// plainOpen is the packet that says that a plain client is connected:
// {"open": {"socket": id, "user": claims or null, "ping": milliseconds}}.
func (s *Socket) plainOpen() parser.Packet {
	data := rawjson.AppendQuote([]byte(`{"socket":`), s.id)
	data = append(data, `,"user":`...)
	if id := s.identity.Load(); id != nil {
		data = append(data, id.Claims...)
	} else {
		data = append(data, "null"...)
	}
	data = append(data, `,"ping":`...)
	data = strconv.AppendInt(data, s.ns.hub.config.Load().Engine.PingInterval.Milliseconds(), 10)
	return parser.Packet{Type: parser.PlainOpen, ID: parser.NoID, Data: append(data, '}')}
}
