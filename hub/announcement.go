package hub

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

const (
	maxListed    = 100               // members of a place that are told as a list when they change
	maxNamed     = 1000              // ids in a list
	maxAnnounced = 1_000_000         // bytes × receivers in a second, of all announcements of a hub
	messageCost  = 128               // bytes that each message counts for beside its own: small ones cost system calls
	roundBytes   = maxAnnounced / 10 // a round tells no more once it has sent so much
)

// Events that announce.
const (
	onlineUsers = "online-users"
	userOnline  = "user-online"
	userOffline = "user-offline"
	roomMembers = "room-members"
)

// pace keeps what all announcers of a hub send below maxAnnounced.
type pace struct {
	mu   sync.Mutex
	free time.Time // when the next may go out
}

// next is when the next announcement may go out.
func (p *pace) next() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.free
}

// spend accounts for bytes that were sent.
func (p *pace) spend(now time.Time, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(bytes) * (time.Second / maxAnnounced)) // in this order it does not overflow
}

// tellOne tells one audience at least something of what it does not know. It
// returns bytes × receivers.
func (a *announcer) tellOne(b *engine.Batch, room string, au *audience) (sent int) {
	receivers := a.ns.memberCount(Address{Name: room})
	to := Emission{Scope: ToRooms, To: []Address{{Name: room}}}
	if room == "" {
		receivers = a.ns.size()
		to = Emission{Scope: ToAll}
	}
	if pending := au.told.Pending(); pending > 0 {
		if au.byList && au.told.Members() <= maxListed {
			au.told.Take(pending)
			au.waiting = nil // they are among all
			to.Event, to.Args = listEvent(room, au.told.Known())
			return a.ns.announce(b, &to) * receivers
		}
		sent += a.tellChanges(b, room, au, to, receivers)
	}
	if au.waiting != nil {
		sent += a.tellNewcomers(b, room, au, receivers)
	}
	return sent
}

// tellChanges tells changes one by one to those who had their list.
func (a *announcer) tellChanges(b *engine.Batch, room string, au *audience, to Emission, receivers int) (sent int) {
	const about = 80 + messageCost // bytes that tell one change
	came, went := au.told.Take(max(1, roundBytes/about/max(1, receivers)))
	for id := range au.waiting {
		to.Except = append(to.Except, Address{SocketRoom, id})
	}
	for _, e := range changeEvents(room, came, went) {
		to.Event, to.Args = e.Event, e.Args
		sent += a.ns.announce(b, &to) * max(0, receivers-len(au.waiting))
	}
	return sent
}

// tellNewcomers gives sockets their first list.
func (a *announcer) tellNewcomers(b *engine.Batch, room string, au *audience, receivers int) (sent int) {
	if len(au.waiting) > receivers { // else some may have gone, but not many
		present := a.ns.socketIDs(room)
		slices.Sort(present)
		maps.DeleteFunc(au.waiting, func(id string, _ struct{}) bool {
			_, found := slices.BinarySearch(present, id)
			return !found
		})
	}
	e := Emission{Scope: ToRooms}
	e.Event, e.Args = listEvent(room, au.told.Known())
	most := max(1, roundBytes/len(e.Args.JSON))
	for id := range au.waiting {
		if len(e.To) == most {
			break
		}
		delete(au.waiting, id)
		if a.ns.isIn(id, room) {
			e.To = append(e.To, Address{SocketRoom, id})
		}
	}
	if len(au.waiting) == 0 {
		au.waiting = nil
	}
	return a.ns.announce(b, &e) * len(e.To)
}

// announce emits e to sockets of this node: every node announces to its own.
// It returns the bytes that each receiver counts for.
func (n *Namespace) announce(b *engine.Batch, e *Emission) (bytes int) {
	e.transient = true
	o := newOutgoing(parser.Packet{Type: parser.Event, ID: parser.NoID, Namespace: n.wire, Name: []byte(e.Event), Args: e.Args})
	defer o.free()
	n.emit(b, nil, e, o)
	for _, f := range o.frames {
		if f != nil {
			bytes = max(bytes, f.Len()+messageCost)
		}
	}
	return bytes
}

// listEvent names the members of a place, the first maxNamed of them. Above
// maxListed it counts them, too.
func listEvent(room string, members []string) (event string, args parser.Args) {
	named := members[:min(len(members), maxNamed)]
	var out []byte
	if room != "" {
		out = append(rawjson.AppendQuote(append(out, `{"room":`...), room), `,"members":`...)
	}
	out = appendStrings(out, named)
	if len(members) > maxListed {
		out = append(out, ',')
		if room != "" {
			out = append(out, `"count":`...)
		}
		out = strconv.AppendInt(out, int64(len(members)), 10)
	}
	if room == "" {
		return onlineUsers, parser.Args{JSON: out}
	}
	return roomMembers, parser.Args{JSON: append(out, '}')}
}

// changeEvents tell who came to a place and who went: of the namespace one
// event each, of a room one for all.
func changeEvents(room string, came, went []string) (events []Emission) {
	if room != "" {
		out := rawjson.AppendQuote([]byte(`{"room":`), room)
		out = appendStrings(append(out, `,"joined":`...), came)
		out = appendStrings(append(out, `,"left":`...), went)
		return []Emission{{Event: roomMembers, Args: parser.Args{JSON: append(out, '}')}}}
	}
	now := time.Now().UnixMilli()
	add := func(event string, users []string) {
		for _, user := range users {
			out := rawjson.AppendQuote([]byte(`{"userId":`), user)
			out = strconv.AppendInt(append(out, `,"timestamp":`...), now, 10)
			events = append(events, Emission{Event: event, Args: parser.Args{JSON: append(out, '}')}})
		}
	}
	add(userOnline, came)
	add(userOffline, went)
	return events
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = rawjson.AppendQuote(dst, s)
	}
	return append(dst, ']')
}
