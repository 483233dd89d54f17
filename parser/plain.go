package parser

import (
	"bytes"
	"errors"
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
// asked for, and ns if it is "/". A frame that is not an object is final; any
// other mistake is a *Refused that names the member. Only clients send
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

// plainKeyNames are the keys by plainKey.
var plainKeyNames = [plainKeys]string{"event", "args", "id", "ns", "ack", "connect", "auth", "disconnect", "ping"}

func (k plainKey) String() string { return plainKeyNames[k] }

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

// left is a key whose value was not taken; ok is false if all were.
func (f *plainFrame) left() (k plainKey, ok bool) {
	for k, v := range f {
		if v != nil {
			return plainKey(k), true
		}
	}
	return 0, false
}

// parsePlainFrame finds the members of a frame. A bad member does not keep it
// from finding the others.
func parsePlainFrame(data []byte) (f plainFrame, bad *Refused, err error) {
	// The object of the frame is one level around the payload.
	if err := rawjson.Check(data, MaxDepth+1); err != nil {
		return f, nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	if data[rawjson.Space(data, 0)] != '{' {
		return f, nil, fmt.Errorf("%w: not an object", ErrPayload)
	}
	for it := rawjson.Object(data); it.Next(); {
		k, ok := plainKeyOf(it.Key())
		switch {
		case !ok:
			bad = &Refused{shortKey(it.Key()), "unknown member", ErrPayload}
		case f[k] != nil:
			bad = &Refused{k.String(), "more than once", ErrPayload}
		default:
			f[k] = it.Value()
		}
	}
	return f, bad, nil
}

// shortKey is a key that is not known, as an error shows it: short, and ASCII.
func shortKey(quoted []byte) string {
	const most = 40 // bytes
	key := strconv.QuoteToASCII(rawjson.String(quoted))
	if len(key) <= most {
		return key
	}
	return key[:most] + "…"
}

type plainDecoder struct{ limits Limits }

// Held is zero: a frame is a packet.
func (d *plainDecoder) Held() int { return 0 }

func (d *plainDecoder) Decode(data []byte, binary bool, p *Packet) (done bool, err error) {
	if binary {
		return false, ErrBinary
	}
	if len(data) > d.limits.PacketBytes {
		return false, tooLarge("bytes", len(data), d.limits.PacketBytes)
	}
	f, bad, err := parsePlainFrame(data)
	if err != nil {
		return false, err
	}
	id, namespace := f[keyID], f[keyNamespace]
	err = d.packet(&f, p)
	if k, ok := f.left(); ok && err == nil {
		err = &Refused{k.String(), "does not belong into this frame", ErrPayload}
	}
	if bad != nil {
		err = bad
	}
	if err != nil {
		p.refuse(id, namespace)
	}
	return true, err
}

// refuse leaves in p what its refusal needs: which packet it is. Its id and
// namespace may not have been read yet.
func (p *Packet) refuse(id, namespace []byte) {
	p.Name, p.Args, p.Data = nil, Args{}, nil
	if p.ID == NoID && id != nil {
		if n, err := parsePlainID(keyID, id); err == nil {
			p.ID = n
		}
	}
	if namespace != nil {
		if name, err := parsePlainNamespace(keyNamespace, namespace); err == nil {
			p.Namespace = name
		}
	}
}

// packet reads the members of f. Its errors are *Refused.
func (d *plainDecoder) packet(f *plainFrame, p *Packet) (err error) {
	*p = Packet{ID: NoID, Namespace: root}
	if v := f.take(keyEvent); v != nil {
		p.Type = Event
		if p.Name, err = parsePlainName(v); err != nil {
			return err
		}
		if v := f.take(keyID); v != nil {
			if p.ID, err = parsePlainID(keyID, v); err != nil {
				return err
			}
		}
		return d.args(f, p)
	}
	if v := f.take(keyAck); v != nil {
		p.Type = Ack
		if p.ID, err = parsePlainID(keyAck, v); err != nil {
			return err
		}
		return d.args(f, p)
	}
	if v := f.take(keyConnect); v != nil {
		p.Type = Connect
		if p.Namespace, err = parsePlainNamespace(keyConnect, v); err != nil {
			return err
		}
		p.Data, err = parsePlainAuth(f.take(keyAuth))
		return err
	}
	if v := f.take(keyDisconnect); v != nil {
		p.Type = Disconnect
		p.Namespace, err = parsePlainNamespace(keyDisconnect, v)
		return err
	}
	if v := f.take(keyAuth); v != nil {
		p.Type = PlainAuth
		p.Data, err = parsePlainAuth(v)
		return err
	}
	if v := f.take(keyPing); v != nil {
		p.Type = PlainPing
		p.Data, err = parsePlainPing(v)
		return err
	}
	return &Refused{"", "a frame must have one of the members event, ack, connect, disconnect, auth and ping", ErrType}
}

// args reads what events and acknowledgements have in common.
func (d *plainDecoder) args(f *plainFrame, p *Packet) (err error) {
	if v := f.take(keyNamespace); v != nil {
		if p.Namespace, err = parsePlainNamespace(keyNamespace, v); err != nil {
			return err
		}
	}
	if v := f.take(keyArgs); v != nil {
		p.Args, err = parsePlainArgs(v, d.limits.Attachments)
	}
	return err
}

func parsePlainName(v []byte) ([]byte, error) {
	if rawjson.KindOf(v) != rawjson.KindString {
		return nil, &Refused{"event", "must be a string", ErrPayload}
	}
	name, err := parseName(v)
	switch {
	case err == nil || isRefused(err):
		return name, err
	case errors.Is(err, ErrReserved):
		return nil, &Refused{"event", ErrReserved.Error(), ErrReserved}
	}
	return nil, &Refused{"event", fmt.Sprintf("name longer than %d bytes", MaxName), ErrTooLarge}
}

func parsePlainID(k plainKey, v []byte) (int64, error) {
	n, ok := rawjson.IsInt(v)
	if !ok || n < 0 || n > maxID {
		return NoID, &Refused{k.String(), fmt.Sprintf("must be a whole number from 0 to %d", maxID), ErrPayload}
	}
	return n, nil
}

// parsePlainNamespace reads a namespace that packets of Socket.IO can name,
// too: it has no comma.
func parsePlainNamespace(k plainKey, v []byte) ([]byte, error) {
	if rawjson.KindOf(v) != rawjson.KindString {
		return root, &Refused{k.String(), "must be a string", ErrPayload}
	}
	name, ok := rawjson.Plain(v)
	if !ok {
		name = rawjson.Unquote(nil, v)
	}
	switch {
	case len(name) > MaxNamespace:
		return root, &Refused{k.String(), fmt.Sprintf("longer than %d bytes", MaxNamespace), ErrTooLarge}
	case len(name) == 0 || name[0] != '/':
		return root, &Refused{k.String(), "must begin with a slash", ErrPayload}
	case bytes.IndexByte(name, ',') >= 0 || hasControl(name):
		return root, &Refused{k.String(), "must not have a comma or a control character", ErrPayload}
	}
	return name, nil
}

// parsePlainAuth checks v, which may be nil.
func parsePlainAuth(v []byte) ([]byte, error) {
	if v != nil && rawjson.KindOf(v) != rawjson.KindObject {
		return nil, &Refused{"auth", "must be an object", ErrPayload}
	}
	return v, nil
}

// parsePlainPing checks a number that comes back to the client as it is.
func parsePlainPing(v []byte) ([]byte, error) {
	const most = 32 // digits
	switch {
	case rawjson.KindOf(v) != rawjson.KindNumber:
		return nil, &Refused{"ping", "must be a number", ErrPayload}
	case len(v) > most:
		return nil, &Refused{"ping", fmt.Sprintf("longer than %d digits", most), ErrTooLarge}
	}
	return v, nil
}
