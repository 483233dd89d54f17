package parser

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

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
	packet  Packet
	missing int   // attachments still to come
	size    int   // bytes of the packet so far
	held    int   // bytes of those that are kept
	refused error // why the packet will be refused; its attachments are then dropped
}

// refuse keeps of a packet no more than is needed to refuse it when its last
// attachment has come.
func (p *partial) refuse(err error) {
	k := &p.packet
	*k = Packet{Type: k.Type, ID: k.ID, Namespace: bytes.Clone(k.Namespace), Name: bytes.Clone(k.Name)}
	p.refused, p.held = err, len(k.Namespace)+len(k.Name)
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
	return err == nil || isRefused(err), err
}

func (d *socketIODecoder) Held() int {
	if d.partial == nil {
		return 0
	}
	return d.partial.held
}

// begin takes the head of a packet with attachments.
func (d *socketIODecoder) begin(data []byte) error {
	count, head, err := d.parseCount(data[1:])
	if err != nil {
		return err
	}
	part := &partial{missing: count, size: len(data), held: len(head)}
	typ := Type(data[0]-'0') - BinaryEvent + Event
	err = parse(typ, bytes.Clone(head), &part.packet)
	if err == nil {
		err = checkPlaceholders(part.packet.Args.JSON, count)
	}
	if err == nil && count > d.limits.Attachments {
		err = &Refused{"args", fmt.Sprintf("%d binary values, at most %d", count, d.limits.Attachments), ErrTooManyAttachments}
	}
	if err != nil {
		if !isRefused(err) {
			return err
		}
		part.refuse(err)
	}
	d.partial = part
	return nil
}

func (d *socketIODecoder) parseCount(b []byte) (count int, rest []byte, err error) {
	n, rest, ok := parseDigits(b, int64(maxRefused*d.limits.Attachments))
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
	part.missing--
	part.size += len(data)
	if part.refused == nil && part.size > d.limits.PacketBytes {
		part.refuse(&Refused{"args", fmt.Sprintf("more than %d bytes with the binary values", d.limits.PacketBytes), ErrTooLarge})
	}
	if part.refused == nil {
		args := &part.packet.Args
		args.Bin = append(args.Bin, append([]byte{}, data...))
		part.held += len(data)
	}
	if part.missing > 0 {
		return false, nil
	}
	*p = part.packet
	d.partial = nil
	return true, part.refused
}

var root = []byte("/")

// parse reads what follows type and count. p aliases b.
func parse(typ Type, b []byte, p *Packet) (err error) {
	*p = Packet{Type: typ, ID: NoID, Namespace: root}
	if len(b) > 0 && b[0] == '/' {
		p.Namespace, b, _ = bytes.Cut(b, []byte(","))
		if err := checkNamespace(typ, p.Namespace); err != nil {
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
		list, n, err := parseArray(b)
		if err == nil {
			err = checkCount(n)
		}
		if err == nil {
			p.Args.JSON = list
		}
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

// checkNamespace refuses a CONNECT to a namespace whose name is too long. A
// control character in it, or bytes that are not UTF-8, are final: the name is
// sent back with the refusal.
func checkNamespace(typ Type, name []byte) error {
	switch {
	case hasControl(name):
		return fmt.Errorf("%w: control character in namespace", ErrPayload)
	case !utf8.Valid(name):
		return fmt.Errorf("%w: namespace is not UTF-8", ErrPayload)
	case len(name) > MaxNamespace && typ == Connect && len(name) <= maxRefused*MaxNamespace:
		return &Refused{"connect", fmt.Sprintf("namespace longer than %d bytes", MaxNamespace), ErrTooLarge}
	case len(name) > MaxNamespace:
		return tooLarge("bytes of namespace", len(name), MaxNamespace)
	}
	return nil
}

// checkCount checks the number of arguments.
func checkCount(n int) error {
	switch {
	case n <= MaxArgs:
		return nil
	case n <= maxRefused*MaxArgs:
		return &Refused{"args", fmt.Sprintf("%d arguments, at most %d", n, MaxArgs), ErrTooLarge}
	}
	return tooLarge("arguments", n, MaxArgs)
}

func parseEvent(b []byte, p *Packet) error {
	list, n, err := parseArray(b)
	if err != nil {
		return err
	}
	it := rawjson.List(list)
	it.Next()
	name, err := parseName(it.Value())
	if err != nil {
		return err
	}
	p.Name = name
	if err := checkCount(n - 1); err != nil {
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
	switch {
	case IsReserved(string(name)):
		return nil, fmt.Errorf("%w: %q is a %w", ErrPayload, name, ErrReserved)
	case len(name) > MaxName:
		return nil, &Refused{"event", fmt.Sprintf("name longer than %d bytes", MaxName), ErrTooLarge}
	case hasControl(name):
		return nil, &Refused{"event", "control character in the name", ErrPayload}
	}
	return name, nil
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

// parseArray checks a payload that must be an array. It returns what stands
// between its brackets, nil if it is empty, and the number of its elements.
func parseArray(b []byte) (list []byte, n int, err error) {
	n, err = rawjson.CheckArray(b, MaxDepth)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	if n == 0 {
		return nil, 0, nil
	}
	b = rawjson.Trim(b)
	return rawjson.Trim(b[1 : len(b)-1]), n, nil
}

// parseData checks the payload of CONNECT or CONNECT_ERROR.
func parseData(typ Type, b []byte) (data []byte, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	if err := rawjson.Check(b, MaxDepth); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	switch kind := rawjson.KindOf(b); {
	case kind == rawjson.KindObject, typ == ConnectError && kind == rawjson.KindString:
		return rawjson.Trim(b), nil
	case typ == Connect:
		return nil, &Refused{"auth", "must be an object", ErrPayload}
	}
	return nil, fmt.Errorf("%w: object expected", ErrPayload)
}
