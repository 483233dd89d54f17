//go:build linux

// Command transports measures what bench/load does not speak: TLS, long polling,
// compression, and members of a room that stop reading. It joins connections to
// one room, publishes to it, and prints one JSON object: the CPU time and memory
// that the server's process spent, and what the members saw. Each connection has
// a goroutine, so its figures compare with each other, not with those of load.
//
// The server has the events of bench/load: sub(room) joins a room and is
// acknowledged, pub({roomId, …}) reaches the others in the room as msg.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/bench/internal/sample"
)

type options struct {
	url, transport, token, pid string
	compress                   bool
	n, stopped, size           int
	rate                       float64
	duration                   time.Duration
}

func main() {
	log.SetFlags(0)
	var o options
	flag.StringVar(&o.url, "url", "http://127.0.0.1:8080", "server")
	flag.StringVar(&o.transport, "transport", "websocket", "websocket or polling")
	flag.StringVar(&o.token, "token", "", "JWT sent with CONNECT")
	flag.StringVar(&o.pid, "pid", "", "process to account for")
	flag.BoolVar(&o.compress, "compress", false, "offer permessage-deflate")
	flag.IntVar(&o.n, "n", 500, "members that read, the one that publishes among them")
	flag.IntVar(&o.stopped, "stopped", 0, "further members that stop reading once they have joined")
	flag.IntVar(&o.size, "size", 128, "bytes of text in each message")
	flag.Float64Var(&o.rate, "rate", 0, "messages per second; 0: the next when all have the last")
	flag.DurationVar(&o.duration, "duration", 4*time.Second, "measured time")
	flag.Parse()
	result, err := run(&o)
	if err != nil {
		log.Fatal("transports: ", err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatal("transports: ", err)
	}
}

func run(o *options) (map[string]float64, error) {
	r := &room{options: o, arrived: make(chan struct{}, 1)}
	meter := sample.NewMeter(o.pid)
	before, err := meter.Read()
	if err != nil {
		return nil, err
	}
	for i := range o.n + o.stopped {
		if err := r.join(i >= o.n); err != nil {
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
	}
	time.Sleep(time.Second) // what connecting left to do
	idle, err := meter.Read()
	if err != nil {
		return nil, err
	}
	received := bytesRead.Load()
	t0 := time.Now()
	if err := r.publish(); err != nil {
		return nil, err
	}
	took := time.Since(t0)
	after, err := meter.Read()
	if err != nil {
		return nil, err
	}
	total, delivered := o.n+o.stopped, r.delivered.Load()
	return map[string]float64{
		"us_cpu_per_connect":  sample.PerOperation(idle.CPU-before.CPU, int64(total)),
		"mem_bytes_per_conn":  float64(idle.Memory-before.Memory) / float64(total),
		"us_cpu_per_delivery": sample.PerOperation(after.CPU-idle.CPU, delivered),
		"bytes_per_delivery":  float64(bytesRead.Load()-received) / float64(delivered),
		"deliveries_per_s":    float64(delivered) / took.Seconds(),
		"lost":                float64(r.expected - delivered),
		"latency_ms_p50":      r.latencies.Percentile(.5),
		"latency_ms_p99":      r.latencies.Percentile(.99),
	}, nil
}

// room is the members of one room.
type room struct {
	*options
	members []*member // the first publishes

	expected  int64 // deliveries of all that was published
	target    atomic.Int64
	delivered atomic.Int64
	arrived   chan struct{} // delivered reached target
	latencies sample.Latencies
}

// member is one connection.
type member struct {
	room    *room
	conn    transport
	stopped bool
	isIn    bool // owned by the reader
	joined  chan error
}

// transport carries Engine.IO packets.
type transport interface {
	send(packet string) error
	// receive blocks until packets have come, and hands each to f.
	receive(f func(packet []byte)) error
}

// join adds a member; a stopped one never reads again.
func (r *room) join(stopped bool) error {
	conn, err := r.dial(stopped)
	if err != nil {
		return err
	}
	m := &member{room: r, conn: conn, stopped: stopped, joined: make(chan error, 2)}
	r.members = append(r.members, m)
	go m.read()
	return <-m.joined
}

func (m *member) read() {
	for !m.stopped || !m.isIn {
		if err := m.conn.receive(m.packet); err != nil {
			m.joined <- err // later than the answer it shows as what is lost
			return
		}
	}
}

func (m *member) packet(p []byte) {
	answer := ""
	switch {
	case p[0] == '0':
		answer = "40"
		if m.room.token != "" {
			answer += `{"token":"` + m.room.token + `"}`
		}
	case p[0] == '2':
		answer = "3"
	case bytes.HasPrefix(p, []byte(`42["msg"`)):
		m.room.deliver(p)
	case bytes.HasPrefix(p, []byte("40")):
		answer = `420["sub","room"]`
	case bytes.HasPrefix(p, []byte("430")):
		m.isIn = true
		m.joined <- nil
	case bytes.HasPrefix(p, []byte("44")):
		m.joined <- fmt.Errorf("refused: %s", p)
	}
	if answer == "" {
		return
	}
	if err := m.conn.send(answer); err != nil {
		log.Print("transports: answering: ", err)
	}
}

var stamp = []byte(`"t":`)

// deliver counts a message by the time since it was due.
func (r *room) deliver(p []byte) {
	_, rest, _ := bytes.Cut(p, stamp)
	if digits, _, ok := bytes.Cut(rest, []byte(",")); ok {
		if due, err := strconv.ParseInt(string(digits), 10, 64); err == nil {
			r.latencies.Add(time.Duration(time.Now().UnixNano() - due))
		}
	}
	if r.delivered.Add(1) == r.target.Load() {
		select {
		case r.arrived <- struct{}{}:
		default:
		}
	}
}

// publish sends for the measured time and waits for what was sent.
func (r *room) publish() error {
	text, start := words(r.size), time.Now()
	for due := start; time.Since(start) < r.duration; {
		if r.rate > 0 {
			time.Sleep(time.Until(due))
		} else {
			due = time.Now()
		}
		r.expected += int64(r.n - 1)
		r.target.Store(r.expected)
		packet := fmt.Sprintf(`42["pub",{"roomId":"room","t":%d,"text":"%s"}]`, due.UnixNano(), text)
		if err := r.members[0].conn.send(packet); err != nil {
			return err
		}
		if r.rate > 0 {
			due = due.Add(time.Duration(float64(time.Second) / r.rate))
		} else if !r.wait() {
			break
		}
	}
	for r.delivered.Load() < r.expected && r.wait() {
	}
	return nil
}

// wait waits until all was delivered, false after 5 s.
func (r *room) wait() bool {
	select {
	case <-r.arrived:
		return true
	case <-time.After(5 * time.Second):
		return false
	}
}

// words is n bytes of text that compresses as prose does.
func words(n int) string {
	rnd := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < n {
		for range 3 + rnd.IntN(6) {
			b.WriteByte("etaoinshrdlucmfwypvbgk"[int(21*rnd.Float64()*rnd.Float64())])
		}
		b.WriteByte(' ')
	}
	return b.String()[:n]
}
