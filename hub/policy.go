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
	// in order, behind the CONNECT answer. Ending with a Refusal answers
	// CONNECT_ERROR with its message. Connect never suspends.
	Connect(c Call)
	// Event is called for each event that the client sent. Ending without an
	// Ack answers a client that asked for one with an empty one; ending with
	// a Refusal answers as design "Refused" says. An event auth-refresh has
	// taken effect already and comes without its token: a policy that does
	// not care for it ends it without a Refusal.
	Event(c Call)
	// Disconnect is called when the socket has left, Call.Reason says why.
	// Nothing reaches the socket any more.
	Disconnect(c Call)
}

// Call is one run of a rule: what it may know and what it may do. The hub
// implements it; it is not safe for concurrent use.
type Call interface {
	// Name is the name of the event: the client's for Event, "connect" or
	// "disconnect" otherwise. Valid until the method of Policy returns or,
	// after Suspend, until End.
	Name() string
	// Args are the event's arguments, valid as Name is.
	Args() parser.Args
	// Reason is the disconnect reason, else "".
	Reason() string
	// Peer is the socket whose call this is, with the user as of the event's
	// arrival. Valid as Name is.
	Peer() Peer
	// Expelled reports whether the server disconnected the socket, or its
	// token expired: what was suspended then has nothing to do but End. It
	// is never so for Disconnect.
	Expelled() bool
	// MemberCount counts the namespace's sockets in a room, on this node.
	MemberCount(a Address) int
	// Members lists the users in a plain room, Online those in the namespace,
	// each once and sorted; IsOnline asks for one. Somebody whose grace
	// (PresenceConfig) is not over is still there.
	Members(a Address) []string
	Online() []string
	IsOnline(user string) bool
	// LastSeen is when the user's last socket left the namespace, as
	// presence.State tells it, in milliseconds since 1970; 0 if that is not
	// known.
	LastSeen(user string) int64

	// Suspend says that the call will end after the method returned: the
	// hub copies what Name and Args return, so both must be asked for again.
	// With hold, later events of the same socket wait for End (at most 64
	// or 1 MB of them, then they are refused BUSY); without, they go on.
	Suspend(hold bool)
	// Worked says that the policy has worked for so long, which is counted for
	// the socket's connection. A policy that works longer than a Stint calls it
	// after each: others run before it returns.
	Worked(d time.Duration)
	// Keep says that the policy keeps so many bytes until the end of the
	// call. Wherever calls wait, they count beside those of the event.
	Keep(bytes int)
	// Join and Leave change the socket's rooms. Names are copied if kept. A room that is not a plain
	// one is refused FORBIDDEN, more than the limit LIMIT.
	Join(rooms []Address) *Refusal
	// JoinChosen is Join for rooms that the client chose and the policy allowed.
	// If the socket is recovered, a RoomGuard is asked about them again.
	JoinChosen(rooms []Address) *Refusal
	Leave(rooms []Address) *Refusal
	// Emit sends an event. The Args are copied before Emit returns.
	Emit(e Emission) *Refusal
	// Batch collects an argument, which is copied as all of e is; every window the hub emits them as one
	// array, one for each event and target.
	Batch(window time.Duration, e Emission) *Refusal
	// Appear makes an anonymous socket count as a user in presence, and
	// nowhere else. It is refused where there is an Authenticator; for a
	// socket that has an identity it does nothing.
	Appear(user string) *Refusal
	// Typing tells the others in a plain room with start user-typing a, when
	// the socket was not typing there or they heard that a second ago or
	// longer; without start user-stopped-typing, when it was. They hear that,
	// too, when the socket leaves or has not started again for 5 s. It is
	// refused FORBIDDEN unless the socket is in the room.
	Typing(start bool, room Address, a parser.Args) *Refusal
	// Ack answers the client's acknowledgement callback, if it asked for
	// one; only the first Ack of a call does anything.
	Ack(a parser.Args)
	// Ignore ends answering: nothing is acked, not even by End(nil).
	Ignore()
	// Ask emits to this socket and calls then, on any goroutine, with the
	// arguments of its acknowledgement or with a Refusal (TIMEOUT), once.
	// The call must be suspended. The Args given to then are valid during it.
	Ask(event string, a parser.Args, timeout time.Duration, then func(parser.Args, *Refusal))
	// Take takes a token from one of the socket's buckets, which holds burst
	// of them and gets one every so often; false if it is empty. Names live
	// as long as the socket: they must come from the configuration.
	Take(bucket string, every time.Duration, burst int) bool
	// Once makes calls with the same key, event and user (or socket, if
	// anonymous) one: the first runs, and until ttl after its end the others
	// get its answer. It calls run, before it returns or on any goroutine, if
	// this call is to run, because it is the first or because those before it
	// ended without an answer to keep; the hub has suspended the call then if
	// Once has returned. Otherwise it ends the call. Only if Once refuses, it
	// does neither. A second Once of one call runs at once.
	Once(key string, ttl time.Duration, run func()) *Refusal
	// Set stores value, one JSON value without binary, as socket.data[key].
	Set(key string, value []byte) *Refusal
	// Disconnect removes the socket from the namespace, with closeAll the
	// whole connection. It takes effect at once, but the call goes on.
	Disconnect(closeAll bool)
	// End ends the call; nil if it was not refused.
	End(r *Refusal)
}

// Peer is what a rule may know of a socket. Byte slices are JSON objects,
// immutable, and stay valid.
type Peer interface {
	ID() string        // 20 characters, "s_…"; public
	Namespace() string // with its slash
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

// Emission is one event to be sent.
type Emission struct {
	Event string
	Args  parser.Args
	// Namespace is the name of another namespace, where To and Except are
	// rooms and NotSelf means the socket that the connection has there; "" is
	// the calling socket's own.
	Namespace string
	// To are the target rooms. Self (and To nil) means the socket itself,
	// All the whole namespace; otherwise To, where none means nobody.
	Scope  Scope
	To     []Address
	Except []Address
	// NotSelf leaves the socket itself out.
	NotSelf  bool
	Volatile bool // dropped for sockets that cannot take it right now

	paid      bool // its cost was counted already
	transient bool // of what is now: nobody has missed it who comes later
}

// Scope says how an Emission's targets are chosen.
type Scope uint8

const (
	ToSelf  Scope = iota // the calling socket only; To is ignored
	ToRooms              // the union of To, which may be empty
	ToAll                // the whole namespace
)

// AddressKind says what an Address names.
type AddressKind uint8

const (
	Room       AddressKind = iota // a plain room, named by anybody
	UserRoom                      // all sockets of a user: made by user_room(id) only
	SocketRoom                    // one socket: made by socket_room(id) only
)

// Address is a room as rules name it. A plain Room whose name has the form of
// the other two is refused wherever it is used.
type Address struct {
	Kind AddressKind
	Name string // of a UserRoom the user's id, of a SocketRoom the socket's id
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
