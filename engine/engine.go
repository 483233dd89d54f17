// Package engine is an Engine.IO v4 server: it turns HTTP requests (long
// polling, WebSocket, and the upgrade from one to the other) into sessions
// that carry opaque text and binary messages in order. It also offers plain
// WebSocket sessions without Engine.IO framing.
//
// HTTP → **engine** → hub. The package knows nothing of Socket.IO, rooms or
// identity, and nothing of Caddy.
package engine

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
	"github.com/caddy-realtime/realtime/internal/budget"
)

// Handler is told of new sessions. It must be safe for concurrent use.
type Handler interface {
	// Open is called once for each session, before any message of it is read
	// and before its handshake is answered; it must not block. The Receiver
	// gets everything that happens on the session from then on.
	Open(s *Session) Receiver
}

// Receiver gets what happens on one session. Its methods are called by one
// goroutine at a time and in order, not always by the same goroutine. They
// must not block: a receiver that has to wait copies what it needs and
// returns.
type Receiver interface {
	// Message is called for each message that arrived. data is valid only
	// during the call. Whatever the receiver sends through b, on this or on
	// other sessions, goes out at the latest when the session's input is
	// drained.
	Message(b *Batch, data []byte, binary bool)

	// Closed is called exactly once, after the last Message.
	Closed(b *Batch, reason Reason)
}

// Codes for Session.Reject, RFC 6455 section 7.4.1.
const (
	CloseUnsupported = ws.CloseUnsupported // a message of a kind that is not accepted
	CloseInvalid     = ws.CloseInvalid     // a message whose content is malformed
)

// Kind is the framing of a session.
type Kind uint8

const (
	EngineIO  Kind = iota // Engine.IO packets: text messages begin with '4'
	PlainText             // messages as they are, on a plain WebSocket
)

// Reason says why a session ended. The first five are those of Engine.IO v4.
type Reason string

const (
	TransportError Reason = "transport error"
	TransportClose Reason = "transport close"
	ForcedClose    Reason = "forced close"
	PingTimeout    Reason = "ping timeout"
	ParseError     Reason = "parse error"
	SlowConsumer   Reason = "slow consumer" // its outbox was full, or not read for too long
	ShuttingDown   Reason = "server shutting down"
)

var reasons = [...]Reason{TransportError, TransportClose, ForcedClose, PingTimeout, ParseError, SlowConsumer, ShuttingDown}

// index is r's place in reasons; a reason that is not of the list counts as
// ForcedClose.
func (r Reason) index() int {
	if i := slices.Index(reasons[:], r); i >= 0 {
		return i
	}
	return slices.Index(reasons[:], ForcedClose)
}

// Config is what a Server works by. The zero value of a field means its
// default.
type Config struct {
	PingInterval     time.Duration  // time between a pong and the next ping; default 25s
	PingTimeout      time.Duration  // time to answer a ping; default 20s
	UpgradeTimeout   time.Duration  // time to complete an upgrade; default 10s
	HandshakeTimeout time.Duration  // time until the handler must call Session.Established; default 45s
	InputTimeout     time.Duration  // time to complete a begun frame, message or POST; default 20s
	WriteTimeout     time.Duration  // age of the oldest unwritten message at which a session is a slow consumer; default 15s
	MaxPayload       int            // bytes of one message or POST body, announced as maxPayload; default 1,000,000
	MaxSessions      int            // open sessions; beyond: 503; 0: no limit
	SessionsPerIP    int            // open sessions of one address; beyond: 503; 0: no limit
	ConnectRate      budget.Rate    // handshakes of one address; beyond: 503; default: no limit
	Accept           budget.Rate    // handshakes of all; beyond: 503; default: no limit
	Rates            budget.Rates   // what one session may use up, tenfold those that share an account; beyond, its input is read later; default: no limits
	Outbox           int            // bytes of backlog of one session; one message always fits; default 4,000,000
	Memory           int            // bytes that clients may make the process hold: at 80 % nobody new comes in, at 100 % the largest backlogs are closed; default: no limit
	UsedMemory       *budget.Memory // counts them; taken by NewServer only; default: one of its own
	Compression      int            // permessage-deflate for messages of at least so many bytes; 0: off
	NoPolling        bool           // refuse the polling transport
	NoWebSocket      bool           // refuse the WebSocket transport and upgrades to it
	Plain            bool           // accept plain WebSockets: an upgrade without EIO, transport and sid
	Logger           *slog.Logger   // default: discard

	// Reclaim gives up that many bytes of what counts as budget.Recovery or
	// budget.Dedupe, if it can. It may be called from any goroutine. Default: nothing is.
	Reclaim func(bytes int)
}

// WithDefaults is c with the defaults of what is zero, as a Server works by it.
func (c Config) WithDefaults() Config {
	c.PingInterval = cmp.Or(c.PingInterval, 25*time.Second)
	c.PingTimeout = cmp.Or(c.PingTimeout, 20*time.Second)
	c.UpgradeTimeout = cmp.Or(c.UpgradeTimeout, 10*time.Second)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 45*time.Second)
	c.InputTimeout = cmp.Or(c.InputTimeout, 20*time.Second)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 15*time.Second)
	c.MaxPayload = cmp.Or(c.MaxPayload, 1_000_000)
	c.Outbox = cmp.Or(c.Outbox, 4_000_000)
	if c.Reclaim == nil {
		c.Reclaim = func(int) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
