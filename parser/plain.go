package parser

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/caddy-realtime/realtime/internal/rawjson"
)

// plainJSON is the protocol of plain WebSockets. Both sides send
//
//	{"event": name, "args": […], "id": n, "ns": namespace}
//	{"ack": n, "args": […], "ns": namespace}
//	{"disconnect": namespace}
//
// where args may be absent if there are none, id if no acknowledgement is
// asked for, and ns if it is "/". Only clients send
//
//	{"auth": {…}}
//	{"connect": namespace, "auth": {…}}
//	{"ping": n}
//
// and only servers
//
//	{"open": {…}}
//	{"connected": namespace, "socket": id}
//	{"pong": n}
//	{"error": {…}, "id": n, "ns": namespace}
type plainJSON struct{}

func (plainJSON) NewDecoder(l Limits) Decoder { return &plainDecoder{l.withDefaults()} }

func (plainJSON) Encode(dst []byte, p *Packet) (head []byte, binary bool, attachments [][]byte) {
	const keys = 64 // bytes of all that is not payload
	dst = slices.Grow(dst, keys+len(p.Namespace)+len(p.Name)+plainArgsLen(p.Args)+len(p.Data))
	switch p.Type {
	case Event:
		dst = rawjson.AppendQuote(append(dst, `{"event":`...), p.Name)
		dst = appendPlainArgs(dst, p.Args)
		dst = appendPlainEnd(dst, p)
	case Ack:
		dst = strconv.AppendInt(append(dst, `{"ack":`...), p.ID, 10)
		dst = appendPlainArgs(dst, p.Args)
		dst = appendPlainNamespace(dst, p)
	case Connect:
		dst = rawjson.AppendQuote(append(dst, `{"connected":`...), namespaceOf(p))
		dst = append(appendSocketID(dst, p.Data), '}')
	case Disconnect:
		dst = rawjson.AppendQuote(append(dst, `{"disconnect":`...), namespaceOf(p))
		dst = append(dst, '}')
	case ConnectError, PlainError:
		dst = append(append(dst, `{"error":`...), p.Data...)
		dst = appendPlainEnd(dst, p)
	case PlainAuth:
		dst = append(append(append(dst, `{"auth":`...), p.Data...), '}')
	case PlainOpen:
		dst = append(append(append(dst, `{"open":`...), p.Data...), '}')
	case PlainPing:
		dst = append(append(append(dst, `{"ping":`...), p.Data...), '}')
	case PlainPong:
		dst = append(append(append(dst, `{"pong":`...), p.Data...), '}')
	}
	return dst, false, nil
}

func namespaceOf(p *Packet) []byte {
	if len(p.Namespace) == 0 {
		return root
	}
	return p.Namespace
}

// appendPlainEnd appends what an event or an error may end with.
func appendPlainEnd(dst []byte, p *Packet) []byte {
	if p.ID >= 0 {
		dst = strconv.AppendInt(append(dst, `,"id":`...), p.ID, 10)
	}
	return appendPlainNamespace(dst, p)
}

func appendPlainNamespace(dst []byte, p *Packet) []byte {
	if len(p.Namespace) > 1 {
		dst = rawjson.AppendQuote(append(dst, `,"ns":`...), p.Namespace)
	}
	return append(dst, '}')
}

// appendSocketID appends the id from the data of a Socket.IO CONNECT.
func appendSocketID(dst, data []byte) []byte {
	id, found, err := rawjson.Field(data, "sid")
	if err != nil || !found {
		return dst
	}
	return append(append(dst, `,"socket":`...), id...)
}

// A plainKey is one of the keys that a client's frame may have.
type plainKey int

const (
	keyEvent plainKey = iota
	keyArgs
	keyID
	keyNamespace
	keyAck
	keyConnect
	keyAuth
	keyDisconnect
	keyPing
	plainKeys
)

func plainKeyOf(quoted []byte) (k plainKey, ok bool) {
	key, plain := rawjson.Plain(quoted)
	if !plain {
		key = rawjson.Unquote(nil, quoted)
	}
	switch string(key) {
	case "event":
		return keyEvent, true
	case "args":
		return keyArgs, true
	case "id":
		return keyID, true
	case "ns":
		return keyNamespace, true
	case "ack":
		return keyAck, true
	case "connect":
		return keyConnect, true
	case "auth":
		return keyAuth, true
	case "disconnect":
		return keyDisconnect, true
	case "ping":
		return keyPing, true
	}
	return 0, false
}

// plainFrame has the values of a client's frame; nil for those absent.
type plainFrame [plainKeys][]byte

// take returns a value and forgets it, so that what is left at the end does
// not belong to the frame.
func (f *plainFrame) take(k plainKey) []byte {
	v := f[k]
	f[k] = nil
	return v
}

func (f *plainFrame) isEmpty() bool {
	for _, v := range f {
		if v != nil {
			return false
		}
	}
	return true
}

func parsePlainFrame(data []byte) (f plainFrame, err error) {
	// The object of the frame is one level around the payload.
	if err := rawjson.Check(data, MaxDepth+1); err != nil {
		return f, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	for it := rawjson.Object(data); it.Next(); {
		k, ok := plainKeyOf(it.Key())
		if !ok {
			return f, fmt.Errorf("%w: unknown key %.40s", ErrPayload, it.Key())
		}
		if f[k] != nil {
			return f, fmt.Errorf("%w: key %s twice", ErrPayload, it.Key())
		}
		f[k] = it.Value()
	}
	return f, nil
}

type plainDecoder struct{ limits Limits }

func (d *plainDecoder) Decode(data []byte, binary bool, p *Packet) (done bool, err error) {
	if binary {
		return false, ErrBinary
	}
	if len(data) > d.limits.PacketBytes {
		return false, tooLarge("bytes", len(data), d.limits.PacketBytes)
	}
	f, err := parsePlainFrame(data)
	if err != nil {
		return false, err
	}
	if err := d.packet(&f, p); err != nil {
		return false, err
	}
	if !f.isEmpty() {
		return false, fmt.Errorf("%w: keys that do not belong together", ErrPayload)
	}
	return true, nil
}

func (d *plainDecoder) packet(f *plainFrame, p *Packet) (err error) {
	*p = Packet{ID: NoID, Namespace: root}
	if v := f.take(keyEvent); v != nil {
		p.Type = Event
		if rawjson.KindOf(v) != rawjson.KindString {
			return fmt.Errorf("%w: event is not a string", ErrPayload)
		}
		if p.Name, err = parseName(v); err != nil {
			return err
		}
		return d.event(f, p, f.take(keyID))
	}
	if v := f.take(keyAck); v != nil {
		p.Type = Ack
		return d.event(f, p, v)
	}
	if v := f.take(keyConnect); v != nil {
		p.Type = Connect
		if p.Namespace, err = parsePlainNamespace(v); err != nil {
			return err
		}
		p.Data, err = parsePlainData(f.take(keyAuth), rawjson.KindObject)
		return err
	}
	if v := f.take(keyDisconnect); v != nil {
		p.Type = Disconnect
		p.Namespace, err = parsePlainNamespace(v)
		return err
	}
	if v := f.take(keyAuth); v != nil {
		p.Type = PlainAuth
		p.Data, err = parsePlainData(v, rawjson.KindObject)
		return err
	}
	if v := f.take(keyPing); v != nil {
		p.Type = PlainPing
		p.Data, err = parsePlainData(v, rawjson.KindNumber)
		return err
	}
	return ErrType
}

// event reads what an event or acknowledgement has beside its name.
func (d *plainDecoder) event(f *plainFrame, p *Packet, id []byte) (err error) {
	if id != nil {
		n, ok := rawjson.IsInt(id)
		if !ok || n < 0 || n > maxID {
			return fmt.Errorf("%w: malformed id", ErrPayload)
		}
		p.ID = n
	}
	if v := f.take(keyNamespace); v != nil {
		if p.Namespace, err = parsePlainNamespace(v); err != nil {
			return err
		}
	}
	if v := f.take(keyArgs); v != nil {
		p.Args, err = parsePlainArgs(v, d.limits.Attachments)
	}
	return err
}

// parsePlainNamespace reads a namespace that packets of Socket.IO can name,
// too: it has no comma.
func parsePlainNamespace(v []byte) ([]byte, error) {
	if rawjson.KindOf(v) != rawjson.KindString {
		return nil, fmt.Errorf("%w: namespace is not a string", ErrPayload)
	}
	name, ok := rawjson.Plain(v)
	if !ok {
		name = rawjson.Unquote(nil, v)
	}
	if len(name) == 0 || name[0] != '/' || bytes.IndexByte(name, ',') >= 0 {
		return nil, fmt.Errorf("%w: malformed namespace", ErrPayload)
	}
	return name, checkText("namespace", name, MaxNamespace)
}

// parsePlainData checks the kind of v, which may be nil. Numbers come back to
// the client as they are, and so must be short.
func parsePlainData(v []byte, kind rawjson.Kind) ([]byte, error) {
	if v != nil && rawjson.KindOf(v) != kind {
		return nil, fmt.Errorf("%w: object or number expected", ErrPayload)
	}
	const maxNumber = 32
	if kind == rawjson.KindNumber && len(v) > maxNumber {
		return nil, tooLarge("digits", len(v), maxNumber)
	}
	return v, nil
}
