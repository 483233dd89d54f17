//go:build linux

// Command load opens many WebSockets to one server on the loopback, gives it
// one kind of work, and prints a JSON object: the CPU time and memory that the
// server's process spent on it, and what the clients saw.
//
// One thread drives all connections through epoll, so that load costs less than
// the servers that it measures. Server and load belong on different cores:
//
//	taskset -c 0 <server> &
//	taskset -c 1 load -pid $! -work fanout -connections 1000
//
// The server has three events: sub(room) joins a room and is acknowledged,
// pub({roomId, …}) reaches the others in the room as msg, echo(value) is
// acknowledged with the value.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"time"
)

type options struct {
	addr, protocol, work, pid string

	connections, rooms, senders int
	window, size                int
	rate                        float64
	duration, settle            time.Duration
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("load: ")
	var o options
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8080", "the server's loopback address")
	flag.StringVar(&o.protocol, "protocol", "socketio", "what the server speaks: socketio, plain or centrifuge")
	flag.StringVar(&o.work, "work", "fanout", "fanout, latency, ack, idle or connect")
	flag.StringVar(&o.pid, "pid", "", "the server's process, whose CPU time and memory are read")
	flag.IntVar(&o.connections, "connections", 1000, "connections; each joins one room")
	flag.IntVar(&o.rooms, "rooms", 1, "rooms, which the connections join in turn")
	flag.IntVar(&o.senders, "senders", 1, "fanout, latency: connections that publish, each to its own room")
	flag.IntVar(&o.window, "window", 8, "fanout: messages in flight of a sender; ack: requests in flight of a connection")
	flag.IntVar(&o.size, "size", 128, "bytes of padding in a message")
	flag.Float64Var(&o.rate, "rate", 20, "latency: messages a second of all senders together")
	flag.DurationVar(&o.duration, "duration", 4*time.Second, "measured time")
	flag.DurationVar(&o.settle, "settle", time.Second, "pause between connecting and measuring")
	flag.Parse()
	figures, err := measure(&o)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(figures)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// check refuses what would put load on another machine, or divide by zero.
func (o *options) check() error {
	host, _, err := net.SplitHostPort(o.addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address", o.addr)
	}
	switch {
	case o.rooms < 1 || o.connections < o.rooms:
		return fmt.Errorf("%d connections cannot fill %d rooms", o.connections, o.rooms)
	case o.senders < 1 || o.senders > o.connections:
		return fmt.Errorf("%d of %d connections cannot send", o.senders, o.connections)
	case o.window < 1 || o.rate <= 0:
		return fmt.Errorf("-window and -rate must be above 0")
	}
	return nil
}
