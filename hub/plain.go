package hub

import (
	"errors"
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
		s.authState = &authState{tentative: true} // nobody else knows s yet
	}
	s.identify(b, a, nil)
}

// firstPlain takes notice of the first frame of a client that was silent.
func (c *client) firstPlain(b *engine.Batch, p *parser.Packet) {
	c.silent = false
	s := c.socket(mainNamespace)
	switch {
	case p.Type != parser.PlainAuth && (s == nil || !s.proceedAnonymous()):
		c.connect(b, mainNamespace, nil)
	case p.Type == parser.PlainAuth && s != nil && s.isTentative(): // it would have no token
		c.forget(s)
		s.leave(b, "client namespace disconnect")
	}
}

// rejectPlain closes a plain WebSocket whose message is not a frame, and says
// why.
func (c *client) rejectPlain(err error) {
	c.hub.log().Debug("protocol violation", "what", "invalid frame", "error", err, "remote_ip", c.session.Handshake().RemoteIP)
	if errors.Is(err, parser.ErrBinary) {
		c.session.Reject(engine.ForcedClose, engine.CloseUnsupported, `binary message: send JSON as text, with binary values as {"$bin": "<base64>"}`)
		return
	}
	c.session.Reject(engine.ForcedClose, engine.CloseInvalid, err.Error())
}

// refusePlain answers a frame that is wrong, by its id if it has one.
func (c *client) refusePlain(b *engine.Batch, p *parser.Packet, r *Refusal) {
	s := c.socket(p.Namespace)
	c.hub.refusals.add(string(p.Name), r.Code)
	c.logRefusal(string(p.Name), shortName(p.Namespace), s, r)
	answer := parser.Packet{Type: parser.PlainError, ID: p.ID, Namespace: p.Namespace, Data: object("code", string(r.Code), "message", r.Message)}
	if p.Type == parser.Ack {
		answer.ID = parser.NoID // that of p is the server's, not one that the client waits for
	}
	c.send(b, answer)
	if p.Type == parser.Ack && s != nil {
		s.answerAsk(b, p.ID, parser.Args{}, r)
	}
}

// wrongNamespace is the refusal of a frame for a namespace that it cannot be
// for. It names the member that says which that is.
func wrongNamespace(p *parser.Packet, why string) *Refusal {
	member := "ns"
	switch p.Type {
	case parser.Connect:
		member = "connect"
	case parser.PlainAuth:
		member = "auth"
	case parser.Disconnect:
		member = "disconnect"
	}
	return &Refusal{Code: Invalid, Message: member + ": " + why}
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
