package parser

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/caddy-realtime/realtime/internal/rawjson"
)

// What a packet may have, beside Limits. A packet beyond is ErrTooLarge.
const (
	MaxDepth     = 128 // nesting of a payload, its outer array included
	MaxNamespace = 128 // bytes
	MaxName      = 128 // bytes of an event's name, unescaped
	MaxArgs      = 64  // arguments, without the name
	maxID        = 1<<53 - 1
)

// socketIO is the default parser of Socket.IO protocol v5:
//
//	packet = type [ count "-" ] [ namespace "," ] [ id ] [ json ]
//
// and count binary messages behind it.
type socketIO struct{}

func (socketIO) NewDecoder(l Limits) Decoder { return &socketIODecoder{limits: l.withDefaults()} }

func (socketIO) Encode(dst []byte, p *Packet) (head []byte, binary bool, attachments [][]byte) {
	const digits = 20 // of an id, and more than enough for type, count and brackets
	dst = slices.Grow(dst, 2*digits+len(p.Namespace)+len(p.Name)+len(p.Args.JSON)+len(p.Data))
	dst = appendType(dst, p)
	if len(p.Namespace) > 1 {
		dst = append(append(dst, p.Namespace...), ',')
	}
	if p.ID >= 0 && (p.Type == Event || p.Type == Ack) {
		dst = strconv.AppendInt(dst, p.ID, 10)
	}
	switch p.Type {
	case Event:
		dst = rawjson.AppendQuote(append(dst, '['), p.Name)
		if len(p.Args.JSON) > 0 {
			dst = append(append(dst, ','), p.Args.JSON...)
		}
		dst = append(dst, ']')
	case Ack:
		dst = append(append(append(dst, '['), p.Args.JSON...), ']')
	case Connect, ConnectError:
		dst = append(dst, p.Data...)
	}
	return dst, false, p.Args.Bin
}

func appendType(dst []byte, p *Packet) []byte {
	if len(p.Args.Bin) == 0 {
		return append(dst, '0'+byte(p.Type))
	}
	dst = append(dst, '0'+byte(p.Type+BinaryEvent-Event))
	return append(strconv.AppendInt(dst, int64(len(p.Args.Bin)), 10), '-')
}

// socketIODecoder is small while nothing is under way: every session has one.
type socketIODecoder struct {
	limits  Limits
	partial *partial // packet whose attachments are still to come, or nil
}

// partial owns its memory: it outlives the message it came with.
type partial struct {
	packet Packet
	count  int // attachments announced
	size   int // bytes of the packet so far
}

func (d *socketIODecoder) Decode(data []byte, binary bool, p *Packet) (done bool, err error) {
	switch {
	case binary && d.partial == nil:
		return false, ErrBinary
	case binary:
		return d.attach(data, p)
	case d.partial != nil:
		return false, ErrText
	case len(data) > d.limits.PacketBytes:
		return false, tooLarge("bytes", len(data), d.limits.PacketBytes)
	case len(data) > 0 && (data[0] == '0'+byte(BinaryEvent) || data[0] == '0'+byte(BinaryAck)):
		return false, d.begin(data)
	case len(data) == 0 || data[0] < '0' || data[0] > '0'+byte(ConnectError):
		return false, fmt.Errorf("%w %.1q", ErrType, data)
	}
	err = parse(Type(data[0]-'0'), data[1:], p)
	return err == nil, err
}

// begin takes the head of a packet with attachments.
func (d *socketIODecoder) begin(data []byte) error {
	count, head, err := d.parseCount(data[1:])
	if err != nil {
		return err
	}
	part := &partial{count: count, size: len(data)}
	typ := Type(data[0]-'0') - BinaryEvent + Event
	if err := parse(typ, bytes.Clone(head), &part.packet); err != nil {
		return err
	}
	if err := checkPlaceholders(part.packet.Args.JSON, count); err != nil {
		return err
	}
	d.partial = part
	return nil
}

func (d *socketIODecoder) parseCount(b []byte) (count int, rest []byte, err error) {
	n, rest, ok := parseDigits(b, int64(d.limits.Attachments))
	switch {
	case !ok:
		return 0, nil, ErrTooManyAttachments
	case n <= 0 || len(rest) == 0 || rest[0] != '-':
		return 0, nil, ErrAttachments
	}
	return int(n), rest[1:], nil
}

// attach takes an attachment, and completes the packet with the last.
func (d *socketIODecoder) attach(data []byte, p *Packet) (done bool, err error) {
	part := d.partial
	if part.size += len(data); part.size > d.limits.PacketBytes {
		return false, tooLarge("bytes", part.size, d.limits.PacketBytes)
	}
	args := &part.packet.Args
	args.Bin = append(args.Bin, append([]byte{}, data...))
	if len(args.Bin) < part.count {
		return false, nil
	}
	*p = part.packet
	d.partial = nil
	return true, nil
}

var root = []byte("/")

// parse reads what follows type and count. p aliases b.
func parse(typ Type, b []byte, p *Packet) (err error) {
	*p = Packet{Type: typ, ID: NoID, Namespace: root}
	if len(b) > 0 && b[0] == '/' {
		p.Namespace, b, _ = bytes.Cut(b, []byte(","))
		if err := checkText("namespace", p.Namespace, MaxNamespace); err != nil {
			return err
		}
	}
	id, b, ok := parseDigits(b, maxID)
	if !ok {
		return fmt.Errorf("%w: id beyond 2^53", ErrPayload)
	}
	if rawjson.Space(b, 0) > 0 {
		return fmt.Errorf("%w: blank in front", ErrPayload)
	}
	switch typ {
	case Event:
		p.ID = id
		return parseEvent(b, p)
	case Ack:
		p.ID = id
		p.Args.JSON, err = parseArray(b, MaxArgs)
		return err
	case Disconnect:
		if len(b) > 0 {
			return fmt.Errorf("%w: DISCONNECT has data", ErrPayload)
		}
		return nil
	default:
		p.Data, err = parseData(typ, b)
		return err
	}
}

// parseDigits reads a decimal number, NoID if there is none. ok is false if it
// is greater than limit. Only digits count, while Node reads blanks and
// exponents as well.
func parseDigits(b []byte, limit int64) (n int64, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
		if n = n*10 + int64(b[i]-'0'); n > limit {
			return 0, nil, false
		}
	}
	if i == 0 {
		return NoID, b, true
	}
	return n, b[i:], true
}

func parseEvent(b []byte, p *Packet) error {
	list, err := parseArray(b, 1+MaxArgs)
	if err != nil {
		return err
	}
	it := rawjson.List(list)
	it.Next()
	if p.Name, err = parseName(it.Value()); err != nil {
		return err
	}
	p.Args.JSON = it.Rest()
	return nil
}

// parseName reads the first element of an event, nil if there is none. Names
// with an escape, which are rare, get memory of their own.
func parseName(v []byte) (name []byte, err error) {
	if len(v) > 2+MaxName*len(`\u0000`) {
		return nil, tooLarge("bytes of name", len(v), MaxName)
	}
	switch kind := rawjson.KindOf(v); {
	case kind == rawjson.KindNumber:
		name = v
	case kind != rawjson.KindString:
		return nil, fmt.Errorf("%w: event has no name", ErrPayload)
	default:
		var plain bool
		if name, plain = rawjson.Plain(v); !plain {
			name = rawjson.Unquote(nil, v)
		}
	}
	if IsReserved(string(name)) {
		return nil, fmt.Errorf("%w: %q is a reserved event name", ErrPayload, name)
	}
	return name, checkText("name", name, MaxName)
}

// IsReserved reports whether Socket.IO reserves the name: the stock client drops
// a connection on which it comes as an event's.
func IsReserved(name string) bool {
	switch name {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return true
	}
	return false
}

// parseArray checks a payload that must be an array and returns what stands
// between its brackets, nil if it is empty.
func parseArray(b []byte, limit int) (list []byte, err error) {
	n, err := rawjson.CheckArray(b, MaxDepth)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	if n == 0 {
		return nil, nil
	}
	if n > limit {
		return nil, tooLarge("arguments", n, limit)
	}
	b = rawjson.Trim(b)
	return rawjson.Trim(b[1 : len(b)-1]), nil
}

// parseData checks the payload of CONNECT or CONNECT_ERROR.
func parseData(typ Type, b []byte) (data []byte, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	if err := rawjson.Check(b, MaxDepth); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	kind := rawjson.KindOf(b)
	if kind != rawjson.KindObject && (typ == Connect || kind != rawjson.KindString) {
		return nil, fmt.Errorf("%w: object expected", ErrPayload)
	}
	return rawjson.Trim(b), nil
}
