//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/internal/wsclient"
)

// abusers lets one abuser of each kind at the server, and compares what 1,000
// honest clients then wait for their answers with what they wait without him,
// in turns. Everybody comes through a trusted proxy: each honest client has an
// address of its own, the abuser one for all his connections. All limits are
// the default ones.
func abusers(ctx context.Context, t *trial) error {
	const honest = 1000
	s, err := t.start(`http://127.0.0.1:{$PORT} {
	realtime {
		on echo {
			ack args...
		}
		on join {
			join data
			ack
		}
		on shout {
			broadcast shout data to "all"
		}
		on ignored {
			ignore
		}
		on tree {
			schema `+"`"+abuseSchema+"`"+`
			ack
		}
		on loops {
			require `+"`data.all(x, data.all(y, x + y > 0))`"+` "No"
			ack
		}
	}
}
`, behindProxy)
	if err != nil {
		return err
	}
	defer s.stop(t)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := &honestOnes{}
	if err := h.come(ctx, s.target(), honest); err != nil {
		return err
	}
	h.p99(ctx, 2*time.Second) // the first answers find nothing in any cache

	long := t.duration
	if long == 0 {
		long = 5 * time.Second
	}
	kinds := t.kinds
	if len(kinds) == 0 {
		kinds = abuseKinds
	}
	next := 0
	address := func() string { next++; return fmt.Sprintf("203.0.113.%d", next) } // with all allowances anew
	for _, kind := range kinds {
		var alone, beside [3]float64
		outcome := ""
		for i := range alone {
			alone[i] = h.p99(ctx, long)
			abuser := exec.CommandContext(ctx, "nice", "-n", "19", os.Args[0], "abuse", kind, s.addr("PORT"), address(), (long + time.Second).String())
			abuser.Stderr = os.Stderr
			out, err := abuser.StdoutPipe()
			if err != nil {
				return err
			}
			if err := abuser.Start(); err != nil {
				return err
			}
			said := bufio.NewReader(out)
			if _, err := said.ReadString('\n'); err != nil { // that he is ready
				return fmt.Errorf("abuser: %w", err)
			}
			sleep(ctx, 500*time.Millisecond)
			beside[i] = h.p99(ctx, long)
			text, _ := io.ReadAll(said) // what is missing is not shown
			outcome = strings.TrimSpace(string(text))
			if err := abuser.Wait(); err != nil {
				return fmt.Errorf("abuser: %w", err)
			}
			sleep(ctx, time.Second)
		}
		without, with := median(alone[:]), median(beside[:])
		figures := fmt.Sprintf("%-8s p99 %.2f ms beside him, %.2f ms without, %.2f ×", kind, with, without, with/without)
		if kind == "requests" {
			t.say("%s (no bound: a refused request costs what net/http and Caddy take for any); %s", figures, outcome)
		} else {
			t.check(with <= 1.5*without, "%s (bound 1.5 ×); %s", figures, outcome)
		}
	}
	t.check(h.lost.Load() == 0, "%d of %d honest clients were disconnected, %d answers refused", h.lost.Load(), honest, h.refused.Load())
	return s.sayClosed(t)
}

// honestOnes each ask something once a second, at different times.
type honestOnes struct {
	waits         atomic.Pointer[waits]
	lost, refused atomic.Int64
}

func (h *honestOnes) come(ctx context.Context, to target, n int) error {
	var clients []*client
	for i := range n {
		to.from = fmt.Sprintf("198.18.%d.%d", i/250, 1+i%250)
		c, err := to.open(ctx)
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	h.waits.Store(&waits{})
	start := time.Now()
	for i, c := range clients {
		var due atomic.Pointer[time.Time]
		go h.ask(ctx, c, start.Add(time.Duration(i)*time.Second/time.Duration(n)), &due)
		go h.hear(ctx, c, &due)
	}
	return nil
}

// ask asks the next thing a second after the last was due.
func (h *honestOnes) ask(ctx context.Context, c *client, due time.Time, asked *atomic.Pointer[time.Time]) {
	for ; sleep(ctx, time.Until(due)); due = due.Add(time.Second) {
		now := due
		if !asked.CompareAndSwap(nil, &now) {
			continue // it waits for an answer still, from when that was due
		}
		if err := c.send(`421["echo","how are you"]`); err != nil {
			return // which hear finds
		}
	}
}

func (h *honestOnes) hear(ctx context.Context, c *client, asked *atomic.Pointer[time.Time]) {
	for {
		p, err := c.await("431")
		if err != nil {
			if ctx.Err() == nil {
				h.lost.Add(1)
			}
			return
		}
		if string(p) != `431["how are you"]` {
			h.refused.Add(1)
		}
		if due := asked.Swap(nil); due != nil {
			h.waits.Load().add(time.Since(*due))
		}
	}
}

// p99 is what 99 of 100 answers took at most, in milliseconds.
func (h *honestOnes) p99(ctx context.Context, long time.Duration) float64 {
	w := &waits{}
	h.waits.Store(w)
	sleep(ctx, long)
	return w.percentile(.99)
}

// abuseKinds: events, joins, acknowledgements of nothing, CONNECTs, bytes,
// messages to many, answers that he does not read, schemas and expressions that
// take long, requests.
var abuseKinds = []string{"events", "joins", "acks", "connects", "bytes", "fanout", "unread", "schema", "loops", "requests"}

// abuseSchema is an ordinary tree of operations, whose alternatives differ in
// what is within an object.
const abuseSchema = `{"$defs": {"node": {"oneOf": [` +
	`{"properties": {"op": {"properties": {"name": {"const": "and"}}}, "of": {"type": "array", "items": {"$ref": "#/$defs/node"}}}},` +
	`{"properties": {"op": {"properties": {"name": {"const": "or"}}}, "of": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}` +
	`]}}, "$ref": "#/$defs/node"}`

var (
	abuseTree = `42["tree",` + strings.Repeat(`{"of":[`, 15) + strings.Repeat(`],"op":{"name":"not"}}`, 15) + `]`
	abuseList = `42["loops",[` + strings.Repeat("1,", 1250) + `1]]`
)

// abuse is the process of an abuser: kind, server, whom he claims to be, and
// for how long. It is as busy as
// it can with ten connections, which it opens again when they are closed.
func abuse(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("abuse: kind, server, address and duration are needed")
	}
	long, err := time.ParseDuration(args[3])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := listeners(ctx, args); err != nil {
		return err
	}
	a := &abuser{kind: args[0], target: target{addr: args[1], from: args[2]}}
	fmt.Println("ready")
	time.AfterFunc(long, cancel)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { a.run(ctx) })
	}
	all.Wait()
	fmt.Printf("he sent %d packets or requests, %.1f MB; refused %d times, closed %d times\n",
		a.sent.Load(), float64(a.bytes.Load())/mega, a.refused.Load(), a.closed.Load())
	return nil
}

// listeners are the members of the room that an abuser shouts to: connections
// of his, so that the honest do not have to read it before their answers.
func listeners(ctx context.Context, args []string) error {
	const n = 200
	if args[0] != "fanout" {
		return nil
	}
	c := &crowd{target: target{addr: args[1], from: args[2], buffer: 64 << 10}, enter: joinAll}
	for range 4 * n { // connect_rate of one address is 100 a second
		if c.in.Load() < n {
			go c.visit(ctx)
			sleep(ctx, 11*time.Millisecond)
		}
	}
	if c.in.Load() < n {
		return fmt.Errorf("listeners: %s", c)
	}
	return nil
}

type abuser struct {
	kind   string
	target target

	sent, bytes, refused, closed atomic.Int64
}

func (a *abuser) run(ctx context.Context) {
	for ctx.Err() == nil {
		if a.kind == "requests" {
			a.request(ctx)
			continue
		}
		c, err := a.target.open(ctx)
		if err != nil {
			a.refused.Add(1)
			sleep(ctx, 20*time.Millisecond)
			continue
		}
		stop := context.AfterFunc(ctx, c.reset)
		if a.kind != "unread" {
			go func() { _ = read(ctx, c) }() // it ends with the connection
		}
		for i := 0; a.pour(c, i) == nil; i++ {
		}
		if ctx.Err() == nil {
			a.closed.Add(1)
		}
		stop()
		c.reset()
	}
}

// pour sends some packets with one write.
func (a *abuser) pour(c *client, turn int) error {
	const window = 200
	var out []byte
	n := 0
	add := func(packet string) {
		out = append(wsclient.AppendHeader(out, wsclient.Text, len(packet)), packet...)
		n++
	}
	switch a.kind {
	case "bytes":
		add(`42["ignored","` + strings.Repeat("x", 900_000) + `"]`)
	case "fanout", "unread":
		event := map[string]string{"fanout": `42["shout","`, "unread": `421["echo","`}[a.kind]
		for range 20 {
			add(event + strings.Repeat("x", 5000) + `"]`)
		}
	case "schema", "loops":
		packet := map[string]string{"schema": abuseTree, "loops": abuseList}[a.kind]
		for range 20 {
			add(packet)
		}
	default:
		for i := range window {
			add(a.small(turn*window + i))
		}
	}
	written, err := c.conn.Write(out)
	a.bytes.Add(int64(written))
	a.sent.Add(int64(n))
	return err
}

func (a *abuser) small(i int) string {
	switch a.kind {
	case "joins":
		return `42["join","room` + strconv.Itoa(i) + `"]`
	case "acks":
		return "43" + strconv.Itoa(i) + "[]"
	case "connects":
		return "4" + strconv.Itoa(i&1) + "/room-" + strconv.Itoa(i>>1) + ","
	}
	return `42` + strconv.Itoa(i) + `["echo",` + strconv.Itoa(i) + `]`
}

// request begins polling sessions over a connection that it keeps.
func (a *abuser) request(ctx context.Context) {
	c, err := a.target.connect(ctx)
	if err != nil {
		a.refused.Add(1)
		return
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for ctx.Err() == nil {
		_, err := fmt.Fprintf(c, "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: %s\r\n\r\n", a.target.addr, a.target.from)
		if err != nil {
			return
		}
		a.sent.Add(1)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return
		}
		if resp.StatusCode != http.StatusOK {
			a.refused.Add(1)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Close {
			return
		}
	}
}
