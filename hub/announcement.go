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
	maxListed    = 100               // members of a place up to which a change is announced as a list
	maxNamed     = 1000              // ids in a list
	maxAnnounced = 1_000_000         // bytes × receivers in a second, of all announcements of a hub
	messageCost  = 128               // bytes that each message counts for in addition to its own: small ones cost system calls
	roundBytes   = maxAnnounced / 10 // bytes × receivers after which a round ends
)

// Events that announce.
const (
	onlineUsers = "online-users"
	userOnline  = "user-online"
	userOffline = "user-offline"
	roomMembers = "room-members"
)

// announcementLimiter keeps what all announcers of a hub send below maxAnnounced.
type announcementLimiter struct {
	mu   sync.Mutex
	free time.Time // when the next may go out
}

// next is when the next announcement may go out.
func (l *announcementLimiter) next() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.free
}

// spend counts bytes that were sent.
func (l *announcementLimiter) spend(now time.Time, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(bytes) * (time.Second / maxAnnounced)) // in this order it does not overflow
}

// announceTo announces to one audience at least a part of what it does not know.
// It returns bytes × receivers.
func (a *announcer) announceTo(b *engine.Batch, room string, au *audience) (sent int) {
	receivers := a.ns.memberCount(Address{Name: room})
	to := Emission{Scope: ToRooms, To: []Address{{Name: room}}}
	if room == "" {
		receivers = a.ns.size()
		to = Emission{Scope: ToAll}
	}
	if pending := au.diff.Pending(); pending > 0 {
		if au.byList && au.diff.Members() <= maxListed {
			au.diff.Take(pending)
			au.newcomers = nil // all get the list
			to.Event, to.Args = listEvent(room, au.diff.Known())
			return a.ns.announce(b, &to) * receivers
		}
		sent += a.announceChanges(b, room, au, to, receivers)
	}
	if au.newcomers != nil {
		sent += a.sendLists(b, room, au, receivers)
	}
	return sent
}

// announceChanges announces changes one by one to the sockets that have their list.
func (a *announcer) announceChanges(b *engine.Batch, room string, au *audience, to Emission, receivers int) (sent int) {
	const about = 80 + messageCost // bytes that announce one change
	came, went := au.diff.Take(max(1, roundBytes/about/max(1, receivers)))
	for id := range au.newcomers {
		to.Except = append(to.Except, Address{SocketRoom, id})
	}
	for _, e := range changeEvents(room, came, went) {
		to.Event, to.Args = e.Event, e.Args
		sent += a.ns.announce(b, &to) * max(0, receivers-len(au.newcomers))
	}
	return sent
}

// sendLists sends newcomers their first list.
func (a *announcer) sendLists(b *engine.Batch, room string, au *audience, receivers int) (sent int) {
	if len(au.newcomers) > receivers { // else some may have gone, but not many
		present := a.ns.socketIDs(room)
		slices.Sort(present)
		maps.DeleteFunc(au.newcomers, func(id string, _ struct{}) bool {
			_, found := slices.BinarySearch(present, id)
			return !found
		})
	}
	e := Emission{Scope: ToRooms}
	e.Event, e.Args = listEvent(room, au.diff.Known())
	most := max(1, roundBytes/len(e.Args.JSON))
	for id := range au.newcomers {
		if len(e.To) == most {
			break
		}
		delete(au.newcomers, id)
		if a.ns.isIn(id, room) {
			e.To = append(e.To, Address{SocketRoom, id})
		}
	}
	if len(au.newcomers) == 0 {
		au.newcomers = nil
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

// changeEvents are the events about the users who came to a place and who went:
// of the namespace one for each user, of a room one for all.
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
