package engine

import (
	"bytes"
	"encoding/base64"
	"errors"

	"github.com/caddy-realtime/realtime/engine/internal/ws"
)

// Engine.IO v4 packets begin with one character; over polling they are
// joined by 0x1E.
const (
	packetMessage = "4"

	packetOpen    = '0'
	packetClose   = '1'
	packetPing    = '2'
	packetPong    = '3'
	packetText    = '4'
	packetUpgrade = '5'
	packetNoop    = '6'
	packetBinary  = 'b' // base64 follows; takes the place of the type

	separator = 0x1E
)

const (
	probePing = "2probe"
	probePong = "3probe"
)

// What the engine itself sends.
var (
	pingPacket  = packetFrames("2")
	noopPacket  = packetFrames("6")
	closePacket = packetFrames("1")
	probeAnswer = packetFrames(probePong)
	emptyClose  = controlFrames(ws.OpClose, nil)
	controlPing = controlFrames(ws.OpPing, nil)
)

// Why a packet ends its session.
var (
	errParse     = errors.New("invalid packet")
	errDirection = errors.New("ping from a client")
	errLeft      = errors.New("close packet")
	errClosed    = errors.New("close frame")
)

// decodeBinary decodes a base64 packet as leniently as Node: padding may be
// missing and the URL-safe alphabet is taken too.
func decodeBinary(p []byte) ([]byte, error) {
	p = bytes.TrimRight(p, "=")
	if bytes.ContainsAny(p, "-_") {
		p = bytes.Map(func(r rune) rune {
			switch r {
			case '-':
				return '+'
			case '_':
				return '/'
			}
			return r
		}, p)
	}
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(p)))
	n, err := base64.RawStdEncoding.Decode(out, p)
	if err != nil {
		return nil, errParse
	}
	return out[:n], nil
}
