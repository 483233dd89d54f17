package rules

import (
	"strings"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

// root is a variable that a selector can begin with.
type root uint8

const (
	rootArgs root = iota
	rootData
	rootEvent
	rootNsp
	rootReason
	rootSocket
	rootUser
	rootSender
	rootNow
	rootRoom // only in allow_rooms
	rootVar  // what ask or let declared
)

// roots are the variables of rules, by name.
var roots = map[string]root{
	"args": rootArgs, "data": rootData, "event": rootEvent, "nsp": rootNsp, "reason": rootReason,
	"socket": rootSocket, "user": rootUser, "sender": rootSender, "now": rootNow,
}

// path is a selection with constant keys, `data.a.b` or `args[1]`. It is
// evaluated on the JSON as it lies, with the meaning that CEL gives it.
type path struct {
	root  root
	of    *variable // of rootVar
	steps []step
	has   bool // has(…): whether the last step finds anything
}

// variable is what a step declares for the steps behind it.
type variable struct {
	name  string
	title string // for warnings: what it is a copy of, else name
	slot  int    // in run.vars
	list  bool   // of several arguments, an answer; else of one value
	// As of the paths in its value.
	fromClient, clientsChoice bool
}

// step is a key of an object, or with an empty missing an index of an array.
type step struct {
	key     string
	index   int
	missing *hub.Refusal // "Missing field x" for a key, nil for an index
}

func fieldStep(key string) step {
	return step{key: key, missing: &hub.Refusal{Code: hub.Invalid, Message: "Missing field " + key}}
}

// fromClient reports whether the client chooses what the path selects.
func (p *path) fromClient() bool {
	switch p.root {
	case rootArgs, rootData, rootEvent, rootRoom:
		return true
	case rootVar:
		return p.of.fromClient
	case rootSocket:
		if len(p.steps) == 0 {
			return true
		}
		switch p.steps[0].key {
		case "data", "handshake":
			return true
		}
	}
	return false
}

// ofEvent reports whether only an event has what the path selects.
func (p *path) ofEvent() bool {
	switch p.root {
	case rootArgs, rootData, rootEvent, rootReason:
		return true
	}
	return false
}

// resolve returns what p selects. The value's bytes are valid as long as the
// call's, or until the run's scratch is reset.
func (p *path) resolve(r *run) (value, error) {
	v, steps, err := p.start(r)
	if err != nil || len(steps) == 0 {
		return v, err
	}
	if p.has {
		last := len(steps) - 1
		if v, err = v.walk(steps[:last]); err != nil {
			return v, err
		}
		found, err := v.contains(steps[last].key)
		return value{raw: rawBool(found)}, err
	}
	return v.walk(steps)
}

// start returns the value of the path's variable, and the steps still to go.
func (p *path) start(r *run) (v value, steps []step, err error) {
	switch p.root {
	case rootArgs:
		return p.list(r, r.event.Args)
	case rootVar:
		args := r.vars[p.of.slot]
		if p.of.list {
			return p.list(r, args)
		}
		return value{raw: args.JSON, bins: args.Bin}, p.steps, nil
	case rootData:
		return value{raw: r.firstArg(), bins: r.event.Args.Bin}, p.steps, nil
	case rootSocket:
		return p.socket(r)
	case rootUser:
		v.raw = r.event.Socket.User()
		if v.raw == nil {
			v.raw = rawNull
		}
		return v, p.steps, nil
	case rootNow:
		return value{kind: intValue, num: r.time()}, p.steps, nil
	default:
		return value{kind: stringValue, str: p.text(r)}, p.steps, nil
	}
}

// text is the value of a variable that is a string.
func (p *path) text(r *run) string {
	switch p.root {
	case rootEvent:
		return strings.Clone(r.event.Name) // it may become a room's name, and so outlive the message
	case rootNsp:
		return r.event.Namespace
	case rootReason:
		return r.event.Reason
	case rootSender:
		return r.sender()
	default: // rootRoom
		return r.room
	}
}

// list starts at arguments, which stand without brackets.
func (p *path) list(r *run, args parser.Args) (value, []step, error) {
	if len(p.steps) > 0 && !(p.has && len(p.steps) == 1) {
		raw, ok := rawjson.Index(args.JSON, p.steps[0].index)
		if !ok || p.steps[0].missing != nil {
			return value{}, nil, errNoElement
		}
		return value{raw: raw, bins: args.Bin}, p.steps[1:], nil
	}
	start := len(r.scratch)
	r.scratch = append(r.scratch, '[')
	r.scratch = append(r.scratch, args.JSON...)
	r.scratch = append(r.scratch, ']')
	return value{raw: r.scratch[start:], bins: args.Bin}, p.steps, nil
}

// socket starts at a key of the variable socket, so that the rest of it need
// not be written down.
func (p *path) socket(r *run) (value, []step, error) {
	if len(p.steps) == 0 || p.has && len(p.steps) == 1 {
		return value{raw: r.socketJSON()}, p.steps, nil
	}
	socket, rest := r.event.Socket, p.steps[1:]
	switch p.steps[0].key {
	case "id":
		return value{kind: stringValue, str: socket.ID()}, rest, nil
	case "rooms":
		start := len(r.scratch)
		r.scratch = appendRooms(r.scratch, socket.Rooms())
		return value{raw: r.scratch[start:]}, rest, nil
	case "data":
		return value{raw: socket.Data()}, rest, nil
	case "recovered":
		return value{raw: rawBool(socket.Recovered())}, rest, nil
	case "handshake":
		return value{raw: socket.Handshake()}, rest, nil
	}
	if m := p.steps[0].missing; m != nil {
		return value{}, nil, m
	}
	return value{}, nil, errNoElement
}

func appendRooms(dst []byte, rooms []string) []byte {
	dst = append(dst, '[')
	for i, room := range rooms {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = rawjson.AppendQuote(dst, room)
	}
	return append(dst, ']')
}

// walk follows steps from v.
func (v value) walk(steps []step) (value, error) {
	for i := range steps {
		s := &steps[i]
		if v.kind != rawValue {
			return value{}, errNoField
		}
		var err error
		if s.missing != nil {
			v.raw, err = v.field(s)
		} else if raw, ok := rawjson.IndexArray(v.raw, s.index); ok {
			v.raw = raw
		} else {
			err = errNoElement
		}
		if err != nil {
			return value{}, err
		}
	}
	return v, nil
}

func (v value) field(s *step) ([]byte, error) {
	switch rawjson.KindOf(v.raw) {
	case rawjson.KindNull:
		return nil, s.missing
	case rawjson.KindObject:
		if v.isBinary() {
			return nil, errNoField
		}
	default:
		return nil, errNoField
	}
	if err := checkMembers(v.raw); err != nil {
		return nil, err
	}
	raw, found, err := rawjson.Field(v.raw, s.key)
	switch {
	case err != nil:
		return nil, errDuplicate
	case !found:
		return nil, s.missing
	}
	return raw, nil
}

// contains is has(): whether v is an object with the key. Lists have none to
// be asked for.
func (v value) contains(key string) (bool, error) {
	if v.kind != rawValue || v.isBinary() {
		return false, nil
	}
	if rawjson.KindOf(v.raw) == rawjson.KindArray {
		return false, errNoField
	}
	if err := checkMembers(v.raw); err != nil {
		return false, err
	}
	_, found, err := rawjson.Field(v.raw, key)
	if err != nil {
		return false, errDuplicate
	}
	return found, nil
}

func (v value) isBinary() bool {
	_, ok := parser.Attachment(v.raw, v.bins)
	return ok
}
