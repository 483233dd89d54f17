package hub

import (
	"cmp"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/parser"
)

// Stint is how long a policy may work before it calls Call.Worked.
const Stint = engine.Stint

// Policy decides what happens on the sockets of one namespace; package rules
// implements it. Its methods are called concurrently for different sockets,
// for one socket in order. They must not block. Each call ends when the policy
// calls Call.End, once, before or after the method returned; a policy that
// ends a call later must first call Call.Suspend.
type Policy interface {
	// Connect decides whether the socket may join the namespace, before its
	// CONNECT is answered. What it joins and emits takes effect after End(nil),
	// in order, after the CONNECT answer. Ending with a Refusal answers
	// CONNECT_ERROR with its message. Connect never suspends.
	Connect(c Call)
	// Event is called for each event that the client sent. Ending without an
	// Ack answers a client that asked for one with an empty one; ending with
	// a Refusal answers with it, or sends it as an error event to a client that
	// asked for no answer or has one. An event auth-refresh has taken effect
	// already and comes without its token: a policy without a use for it ends
	// it without a Refusal.
	Event(c Call)
	// Disconnect is called when the socket has left, Event.Reason says why.
	// Nothing reaches the socket any more.
	Disconnect(c Call)
}

// Call is one run of a policy for one socket: what it is about, and the way to
// act. The hub implements it; it is not safe for concurrent use.
type Call interface {
	// Event is what the call is about. The policy must not change it. It is
	// valid until the method of Policy returns or, after Suspend, until End.
	Event() *Event
	// Directory tells who is in the namespace.
	Directory() Directory
	// Do performs an action on behalf of the socket, or refuses it. It neither
	// changes nor keeps a.
	Do(a Action) *Refusal
	// Kicked reports whether the server has disconnected the socket, or its
	// token has expired: what was suspended then has nothing to do but End. It
	// is never so for Disconnect.
	Kicked() bool
	// Suspend says that the call will end after the method returned: the hub
	// copies the name and the Args of the Event, so that those that the policy
	// had before are not valid any more. With hold, later events of the same socket wait for End
	// (at most 64 or 1 MB of them, then they are refused BUSY); without, they
	// run.
	Suspend(hold bool)
	// Keep counts bytes that the policy keeps until the end of the call.
	// Wherever calls wait, they count in addition to those of the event.
	Keep(bytes int)
	// Worked counts time that the policy worked, for the socket's connection. A
	// policy that works longer than a Stint calls it after each: others run
	// before it returns.
	Worked(d time.Duration)
	// End ends the call; nil if it was not refused.
	End(r *Refusal)
}

// Action is an effect that a policy may have. For each there is one type in this
// package, whose method perform does it:
//
//   - Join and Leave, for rooms;
//   - Emission, Batch, Typing and Ask, which send events;
//   - Ack and Ignore, for the client's acknowledgement;
//   - Appear, Set and Disconnect, which change the socket;
//   - Take and Once, which limit and repeat.
//
// In a connect call, what Join, Leave, Emission, Batch, Appear and Disconnect do
// takes effect after End(nil).
type Action interface {
	perform(c *call) *Refusal
}

// Event is what a Call is about.
type Event struct {
	Name      string // the client's; "connect" or "disconnect" for these
	Namespace string // with its slash
	Args      parser.Args
	Reason    string     // of a disconnect
	Socket    SocketView // the user is that of the event's arrival
}

// SocketView is what a policy may know of a socket. Byte slices are JSON objects,
// immutable, and stay valid.
type SocketView interface {
	ID() string        // 20 characters, "s_…"; public
	UserID() string    // "" if anonymous
	User() []byte      // JSON object of the claims, "id" among them; nil if anonymous
	Data() []byte      // JSON object socket.data
	Handshake() []byte // JSON object with the keys Node gives it, without secrets
	Recovered() bool
	Rooms() []string       // own room first; wire names
	InRoom(a Address) bool // of a UserRoom or SocketRoom: whether it is its own
}

// Sender is the name that a socket's messages bear: its user's id, or its own
// id if it is anonymous.
func Sender(s interface {
	ID() string
	UserID() string
}) string {
	return cmp.Or(s.UserID(), s.ID())
}

// Directory tells who is in a namespace. A user whose grace (PresenceConfig) is
// not over counts as present.
type Directory interface {
	// MemberCount counts the namespace's sockets in a room, on this node.
	MemberCount(a Address) int
	// Members lists the users in a plain room, Online those in the namespace,
	// each once and sorted; IsOnline asks for one.
	Members(a Address) []string
	Online() []string
	IsOnline(user string) bool
	// LastSeen is when the user's last socket left the namespace, as
	// presence.State has it, in milliseconds since 1970; 0 if that is not known.
	LastSeen(user string) int64
}

// Code is the word that tells a client why it was refused: one of these, or one
// that a policy chose.
type Code string

const (
	UnknownEvent    Code = "UNKNOWN_EVENT"
	Invalid         Code = "INVALID"
	Forbidden       Code = "FORBIDDEN"
	RateLimited     Code = "RATE_LIMITED"
	TooLarge        Code = "TOO_LARGE"
	Limit           Code = "LIMIT"
	Busy            Code = "BUSY"
	Timeout         Code = "TIMEOUT"
	UpstreamError   Code = "UPSTREAM_ERROR"
	ProcessingError Code = "PROCESSING_ERROR"
)

// Refusal is why an event or a CONNECT was refused. Code and Message go to the
// client, Cause and Rule to the debug log alone.
type Refusal struct {
	Code    Code
	Message string
	Cause   error  // nil: Message says it all
	Rule    string // the line of the configuration that refused, "Caddyfile:12"; "": none did
}

// Error makes a Refusal an error, for logs.
func (r *Refusal) Error() string {
	text := string(r.Code) + ": " + r.Message
	if r.Cause != nil {
		text += ": " + r.Cause.Error()
	}
	return text
}
