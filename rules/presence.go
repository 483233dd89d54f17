package rules

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/caddy-realtime/realtime/hub"
)

// Presence says what the sockets of a namespace are told of who comes and
// goes. What is left out is what a preset in use says, else the default.
type Presence struct {
	// How the users in the namespace are announced: `list`, as online-users
	// [ids] after CONNECT and whenever it changed, above 100 users in diffs;
	// `diff`, as user-online and user-offline {userId, timestamp}; or `off`.
	// A user with several sockets is one. Default: off.
	Announce string `json:"announce,omitempty"`
	// The time in which changes are told together; a change and its opposite
	// cancel. It becomes longer by itself when announcements would exceed
	// 1 MB/s in the hub. Default: 100ms.
	Interval Duration `json:"interval,omitempty"`
	// How long a user counts as present after its last socket disconnected,
	// so that a reconnect is told to nobody. Negative: not at all.
	// Default: 5s.
	Grace Duration `json:"grace,omitempty"`
	// A CEL condition over `room`: the rooms whose members are told to those
	// in them, as room-members {room, members}. Default: none.
	Rooms string `json:"rooms,omitempty"`
}

const (
	defaultInterval = Duration(100 * time.Millisecond)
	maxInterval     = Duration(time.Minute)
	defaultGrace    = Duration(5 * time.Second)
)

var announcements = map[string]hub.Announce{
	"": hub.AnnounceOff, "off": hub.AnnounceOff, "list": hub.AnnounceList, "diff": hub.AnnounceDiff,
}

// ParsePresence reads `presence { <options> }`. Errors begin with file and
// line.
func ParsePresence(l Line) (*Presence, error) {
	p := new(Presence)
	if len(l.Tokens) > 1 {
		return nil, placed(l.Tokens[0].position().or(""), "presence: unexpected argument %s; options stand in braces, each on a line of its own", l.Tokens[1].Text)
	}
	given := map[string]bool{}
	for _, option := range l.Block {
		name, at := option.Tokens[0].Text, option.Tokens[0].position()
		r := &reader{tokens: option.Tokens[1:]}
		err := p.parseOption(name, r)
		switch {
		case err == nil && given[name]:
			err = errors.New("it is already set")
		case err == nil && r.more():
			err = unexpected(r.tokens[0])
		case err == nil && len(option.Block) > 0:
			err = errors.New("it takes no block")
		}
		if err != nil {
			return nil, placed(at.or(""), "presence: %s: %w", name, err)
		}
		given[name] = true
	}
	return p, nil
}

func (p *Presence) parseOption(name string, r *reader) (err error) {
	switch name {
	case "announce":
		p.Announce, err = r.word("list, diff or off")
	case "interval":
		p.Interval, err = r.duration("the interval")
	case "grace":
		if r.keyword("off") {
			p.Grace = -1
		} else {
			p.Grace, err = r.duration("the grace")
		}
	case "rooms":
		p.Rooms, err = r.expr("the condition")
	default:
		return errors.New("unknown option" + Suggest(name, "the options", []string{"announce", "grace", "interval", "rooms"}))
	}
	if err == nil {
		_, err = p.Compile()
	}
	return err
}

// Or is p, with what it leaves out taken from defaults. Both may be nil.
func (p *Presence) Or(defaults *Presence) *Presence {
	switch {
	case p == nil:
		return defaults
	case defaults == nil:
		return p
	}
	merged := *p
	if merged.Announce == "" {
		merged.Announce = defaults.Announce
	}
	if merged.Interval == 0 {
		merged.Interval = defaults.Interval
	}
	if merged.Grace == 0 {
		merged.Grace = defaults.Grace
	}
	if merged.Rooms == "" {
		merged.Rooms = defaults.Rooms
	}
	return &merged
}

// Compile checks p, which may be nil, and returns it in the hub's terms.
func (p *Presence) Compile() (c hub.PresenceConfig, err error) {
	if p == nil {
		return c, nil
	}
	announce, known := announcements[p.Announce]
	switch {
	case !known:
		return c, fmt.Errorf("unknown value %s; use list, diff or off", p.Announce)
	case p.Interval < 0 || p.Interval > maxInterval:
		return c, errors.New("the interval must be at most 1m")
	}
	c.Announce, c.Interval, c.Grace = announce, time.Duration(p.Interval), time.Duration(p.Grace)
	if c.Interval == 0 {
		c.Interval = time.Duration(defaultInterval)
	}
	switch {
	case c.Grace == 0:
		c.Grace = time.Duration(defaultGrace)
	case c.Grace < 0:
		c.Grace = 0
	}
	if p.Rooms != "" {
		c.Rooms, err = compileRooms(p.Rooms)
	}
	return c, err
}

// noEvent is the event of an expression that no call evaluates.
var noEvent hub.Event

// compileRooms compiles a condition over room alone: nobody asks it on behalf
// of a socket.
func compileRooms(text string) (func(room string) bool, error) {
	env, err := cel.NewEnv(slices.Concat(library(), []cel.EnvOption{cel.Variable("room", cel.StringType)})...)
	if err != nil {
		return nil, fmt.Errorf("setting up CEL: %w", err)
	}
	c := &compiler{scope: scope{env: env, room: true}}
	tells, err := c.condition(text)
	if err != nil {
		return nil, err
	}
	return func(room string) bool {
		r := runs.Get().(*run)
		defer runs.Put(r)
		r.event = &noEvent
		ok := r.allowed(tells, room)
		r.scratch, r.event = r.scratch[:0], nil
		return ok
	}, nil
}
