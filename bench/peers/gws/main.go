// Command gws is the benchmark's three events on github.com/lxzan/gws, a raw
// WebSocket library, written as its manual advises: what a Go programmer gets
// without a realtime server. It speaks just the Socket.IO packets that the load
// generator sends, and has no limits.
package main

import (
	"bytes"
	"flag"
	"log"
	"maps"
	"slices"
	"sync"

	"github.com/lxzan/gws"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:3013", "loopback address to listen on")
	flag.Parse()
	log.Fatal(gws.NewServer(&server{rooms: map[string]room{}}, nil).Run(*addr))
}

type room map[*gws.Conn]struct{}

type server struct {
	gws.BuiltinEventHandler

	mu    sync.RWMutex
	rooms map[string]room
}

func (s *server) OnOpen(c *gws.Conn) {
	text(c, `0{"sid":"gws","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`)
}

func (s *server) OnClose(c *gws.Conn, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name, ok := c.Session().Load("room"); ok {
		delete(s.rooms[name.(string)], c)
	}
}

func (s *server) OnMessage(c *gws.Conn, message *gws.Message) {
	defer message.Close()
	switch m := message.Bytes(); {
	case string(m) == "40": // CONNECT
		text(c, `40{"sid":"gws"}`)
	case bytes.HasPrefix(m, []byte(`420["sub","`)):
		s.join(c, string(m[len(`420["sub","`):len(m)-len(`"]`)]))
		text(c, "430[]")
	case bytes.HasPrefix(m, []byte(`42["pub",`)):
		s.publish(c, m[len(`42["pub",`):])
	case bytes.HasPrefix(m, []byte("42")): // <id>["echo",<value>]
		id, value, _ := bytes.Cut(m[2:], []byte(`["echo",`))
		text(c, "43"+string(id)+"["+string(value))
	}
}

func (s *server) join(c *gws.Conn, name string) {
	c.Session().Store("room", name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms[name] == nil {
		s.rooms[name] = room{}
	}
	s.rooms[name][c] = struct{}{}
}

func (s *server) publish(from *gws.Conn, arg []byte) {
	name := arg[len(`{"roomId":"`):]
	name = name[:bytes.IndexByte(name, '"')]
	b := gws.NewBroadcaster(gws.OpcodeText, slices.Concat([]byte(`42["msg",`), arg))
	defer b.Close()
	s.mu.RLock()
	members := slices.Collect(maps.Keys(s.rooms[string(name)]))
	s.mu.RUnlock()
	for _, c := range members {
		if c != from {
			b.Broadcast(c) // fails for a connection that has ended
		}
	}
}

func text(c *gws.Conn, message string) {
	c.WriteString(message) // fails for a connection that has ended
}
