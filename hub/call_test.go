package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/siotest"
	"github.com/caddy-realtime/realtime/parser"
)

// What a policy names rooms and targets by may lie in the
// buffer that the next message overwrites.
func TestNamesAreCopied(t *testing.T) {
	p := &script{event: func(c hub.Call) {
		if c.Event().Name == "rooms" {
			c.Do(&hub.Ack{Args: args(fmt.Sprintf("%q", strings.Join(c.Event().Socket.Rooms()[1:], " ")))})
			c.End(nil)
			return
		}
		c.Do(&hub.Batch{Window: time.Second, Emission: hub.Emission{Event: c.Event().Name, Args: args("1"), Scope: hub.ToRooms, To: room(c.Event().Name)}})
		c.End(c.Do(&hub.Join{Rooms: room(c.Event().Name)}))
	}}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`42["the-first-room",1]`)
		c.Send(`42["2nd",{"padding":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}]`)
		c.Send(`427["rooms"]`)
		c.Expect(`437["the-first-room 2nd"]`)
		if got := c.Next() + c.Next(); got != `42["the-first-room",[1]]42["2nd",[1]]` && got != `42["2nd",[1]]42["the-first-room",[1]]` {
			t.Errorf("batches: %s", got)
		}
		c.Send("41")
		synctest.Wait()
		if got := h.Stats().Namespaces[0].Rooms; got != 0 {
			t.Errorf("%d rooms are left of nobody", got)
		}
	})
}

// A policy may do an action again, and change it afterwards: in a connect call,
// where it takes effect later, and in any other.
func TestActionIsNeitherChangedNorKept(t *testing.T) {
	twice := func(t *testing.T, c hub.Call, e hub.Emission) {
		e.Args, e.To = args(`"first"`), room(c.Event().Socket.Rooms()[0])
		before := e
		before.To = slices.Clone(e.To)
		c.Do(&e)
		c.Do(&hub.Batch{Window: time.Millisecond, Emission: e})
		if !reflect.DeepEqual(e, before) {
			t.Errorf("the action is %+v by now, was %+v", e, before)
		}
		copy(e.Args.JSON, `"other"`)
		e.To[0] = hub.Address{Name: "nowhere"}
		c.Do(&e)
		c.End(nil)
	}
	p := &script{
		connect: func(c hub.Call) { twice(t, c, hub.Emission{Event: "m", Scope: hub.ToRooms}) },
		event: func(c hub.Call) {
			away := hub.Emission{Event: "m", Scope: hub.ToAll, Namespace: "/away", NotSelf: true}
			if c.Do(&away); !away.NotSelf {
				t.Error("an action of a namespace without this connection is changed")
			}
			twice(t, c, hub.Emission{Event: "m", Scope: hub.ToRooms, Namespace: "/"})
		},
	}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Expect(`42["m","first"]`)
		c.Expect(`42["m",["first"]]`)
		c.Send(`42["all"]`)
		c.Expect(`42["m","first"]`)
		c.Expect(`42["m",["first"]]`)
	})
}

func TestRefusalAnswersTheAcknowledgement(t *testing.T) {
	p := &script{event: func(c hub.Call) {
		switch c.Event().Name {
		case "panic":
			panic("boom")
		case "silent":
			return
		case "late":
			c.Do(&hub.Ack{Args: args(`1`)})
		case "ignore":
			c.Do(&hub.Ignore{})
			c.End(nil)
			return
		}
		c.End(&hub.Refusal{Code: hub.Invalid, Message: "no", Cause: errors.New("inside")})
	}}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`421["x"]`)
		c.Expect(`431[{"error":"no","code":"INVALID"}]`)
		c.Send(`422["panic"]`)
		c.Expect(`432[{"error":"Internal error","code":"PROCESSING_ERROR"}]`)
		c.Send(`423["silent"]`)
		c.Expect(`433[{"error":"Internal error","code":"PROCESSING_ERROR"}]`)
		c.Send(`424["late"]`)
		c.Expect(`434[1]`, `42["error",{"code":"INVALID","message":"no","event":"late"}]`)
		for range 100 {
			c.Send(`42["x"]`) // within a second of the last: not reported again
		}
		c.Send(`425["ignore"]`)
		c.Send(`426["error"]`)
		c.Expect(`436[{"error":"Reserved event name","code":"FORBIDDEN"}]`)
		time.Sleep(time.Second)
		c.Send(`42["x"]`)
		c.Expect(`42["error",{"code":"INVALID","message":"no","event":"x"}]`)
		if got := h.Stats().Panics; got != 1 {
			t.Errorf("%d panics counted", got)
		}
	})
}

func TestEventsWaitForACallThatHolds(t *testing.T) {
	var held hub.Call
	var order []string
	var mu sync.Mutex
	note := func(s string) { mu.Lock(); order = append(order, s); mu.Unlock() }
	p := &script{
		event: func(c hub.Call) {
			if c.Event().Name == "hold" {
				c.Suspend(true)
				held = c
				return
			}
			note(string(c.Event().Args.JSON))
			c.End(nil)
		},
		disconnect: func(c hub.Call) { note("disconnect: " + c.Event().Reason); c.End(nil) },
	}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`420["hold","h"]`)
		for i := range 65 {
			c.Send(fmt.Sprintf(`42%d["e",%d]`, i+1, i))
		}
		c.Expect(`4365[{"error":"Too many events are waiting","code":"BUSY"}]`)
		synctest.Wait()
		if len(order) != 0 {
			t.Fatalf("ran while held: %v", order)
		}
		if got := string(held.Event().Args.JSON); got != `"h"` {
			t.Errorf("arguments after Suspend: %s", got)
		}
		c.Close() // what was received still runs, disconnect last
		synctest.Wait()
		held.Do(&hub.Ack{Args: args(`1`)})
		held.End(nil)
		synctest.Wait()
		if len(order) != 65 || order[0] != "0" || order[63] != "63" || order[64] != "disconnect: transport close" {
			t.Errorf("order: %v", order)
		}
	})
}

// The limit is on the bytes that wait, not on all that waited.
func TestBytesThatHaveWaitedDoNotCount(t *testing.T) {
	held := make(chan hub.Call, 1)
	p := &script{event: func(c hub.Call) { c.Suspend(true); held <- c }}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		big := `"` + strings.Repeat("x", 200_000) + `"`
		c.Send(`420["e",` + big + `]`)
		for i := range 20 {
			c.Send(fmt.Sprintf(`42%d["e",%s]`, i+1, big)) // one waits behind the one that holds
			synctest.Wait()
			(<-held).End(nil)
			c.Expect(fmt.Sprintf(`43%d[]`, i))
		}
	})
}

func TestNextEventRunsWhenACallResumes(t *testing.T) {
	release := make(chan hub.Call, 1)
	p := &script{event: func(c hub.Call) {
		if c.Event().Name == "hold" {
			c.Suspend(true)
			release <- c
			return
		}
		c.End(nil)
	}}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`421["hold"]`)
		c.Send(`422["next"]`)
		held := <-release
		synctest.Wait()
		c.Quiet()
		held.Do(&hub.Ack{Args: args(`"done"`)})
		held.End(nil)
		c.Expect(`431["done"]`, `432[]`)
	})
}

func TestAskWaitsForItsAnswerOnly(t *testing.T) {
	p := &script{event: func(c hub.Call) {
		if c.Event().Name != "start" {
			c.End(nil)
			return
		}
		c.Suspend(false)
		c.Do(&hub.Ask{Event: "question", Args: args(`"?"`), Timeout: 5 * time.Second, Then: func(a parser.Args, r *hub.Refusal) {
			if r == nil {
				c.Do(&hub.Ack{Args: a})
			}
			c.End(r)
		}})
	}}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`427["start"]`)
		c.Expect(`420["question","?"]`)
		c.Send(`428["other"]`) // later events go on
		c.Expect(`438[]`)
		c.Send(`4399["stranger"]`) // an id that nobody asked with
		c.Send(`430["yes",{"a":1}]`)
		c.Expect(`437["yes",{"a":1}]`)
		c.Send(`430["again"]`)

		c.Send(`429["start"]`)
		c.Expect(`421["question","?"]`)
		time.Sleep(5 * time.Second)
		c.Expect(`439[{"error":"No answer in time","code":"TIMEOUT"}]`)
		c.Send(`431["late"]`)

		c.Send(`4210["start"]`)
		c.Expect(`422["question","?"]`)
		c.Close() // ends the rule: nothing waits for ever
	})
}

// An attack. Only the socket that was asked answers,
// and only by the question's number; whatever else it or another sends changes
// nothing and is kept nowhere.
func TestForgedAcknowledgementsAnswerNothing(t *testing.T) {
	p := &script{event: func(c hub.Call) {
		c.Suspend(false)
		c.Do(&hub.Ask{Event: "question", Args: args(``), Timeout: time.Minute, Then: func(a parser.Args, r *hub.Refusal) {
			if r == nil {
				c.Do(&hub.Ack{Args: a})
			}
			c.End(r)
		}})
	}}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		asked, stranger := n.WebSocket(wsPath), n.WebSocket(wsPath)
		asked.Join("/", "")
		stranger.Join("/", "")
		asked.Send(`427["start"]`)
		asked.Expect(`420["question"]`)
		for i := range 100_000 {
			stranger.Send(fmt.Sprintf(`43%d["forged"]`, i))
			asked.Send(fmt.Sprintf(`43%d["forged"]`, i+1))
		}
		synctest.Wait()
		asked.Quiet()
		asked.Send(`430["true"]`)
		asked.Expect(`437["true"]`)
		for range 3 {
			asked.Send(`430["again"]`)
		}
		synctest.Wait()
		asked.Quiet()
		stranger.Quiet()
	})
}

// TestAskMayBeAnsweredBeforeItReturns asks many times in one rule; each answer may come before the
// goroutine that asked has returned.
func TestAskMayBeAnsweredBeforeItReturns(t *testing.T) {
	var ask func(c hub.Call, left int)
	ask = func(c hub.Call, left int) {
		if left == 0 {
			c.Do(&hub.Ack{Args: args(`"done"`)})
			c.End(nil)
			return
		}
		c.Suspend(false)
		c.Do(&hub.Ask{Event: "q", Args: args(``), Timeout: time.Second, Then: func(parser.Args, *hub.Refusal) { ask(c, left-1) }})
	}
	serve(t, &script{event: func(c hub.Call) { ask(c, 50) }}, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`421["start"]`)
		for i := range 50 {
			c.Expect(fmt.Sprintf(`42%d["q"]`, i))
			c.Send(fmt.Sprintf(`43%d[]`, i))
		}
		c.Expect(`431["done"]`)
	})
}

func TestBatchCollectsUntilItIsDueOrFull(t *testing.T) {
	p := &script{event: func(c hub.Call) {
		c.End(c.Do(&hub.Batch{Window: 100 * time.Millisecond, Emission: hub.Emission{Event: "batch", Args: c.Event().Args, Scope: hub.ToAll}}))
	}}
	serve(t, p, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		a, b := n.WebSocket(wsPath), n.WebSocket(wsPath)
		a.Join("/", "")
		b.Join("/", "")
		a.Send(`42["u",1]`)
		a.Send(`42["u",{"x":2}]`)
		synctest.Wait()
		b.Send(`421["u","3"]`)
		b.Expect(`431[]`)
		b.Quiet()
		time.Sleep(101 * time.Millisecond)
		a.Expect(`42["batch",[1,{"x":2},"3"]]`)
		b.Expect(`42["batch",[1,{"x":2},"3"]]`)
		for i := range 1001 { // a full batch does not wait
			b.Send(fmt.Sprintf(`42["u",%d]`, i))
		}
		if m := a.Next(); !strings.HasSuffix(m, `,999]]`) {
			t.Errorf("full batch ends %q", m[len(m)-20:])
		}
		a.Expect(`42["batch",[1000]]`)
	})
}

// Binary values move into the array of a batch, numbered anew. What cannot go
// into one packet with them goes into the next.
func TestBatchRenumbersBinaryValues(t *testing.T) {
	const p0, p1 = `{"_placeholder":true,"num":0}`, `{"_placeholder":true,"num":1}`
	m := new(budget.Memory)
	p := &script{event: func(c hub.Call) {
		c.End(c.Do(&hub.Batch{Window: 100 * time.Millisecond, Emission: hub.Emission{Event: "batch", Args: c.Event().Args, Scope: hub.ToAll}}))
	}}
	conf := hub.Config{Engine: engine.Config{Plain: true, UsedMemory: m}, Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: p}}}
	serveConfig(t, conf, func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		a, plain := n.WebSocket(wsPath), n.Open("/socket.io/", nil)
		a.Join("/", "")
		plain.Next()
		collect := func(packet string, attachments ...byte) {
			a.Send(packet)
			for _, v := range attachments {
				a.SendBinary([]byte{v})
			}
			synctest.Wait()
		}
		collect(`42["u",1]`)
		collect(`451-["u",{"x":`+p0+`}]`, 10)
		collect(`452-["u",[`+p1+`,`+p0+`]]`, 20, 21)
		time.Sleep(101 * time.Millisecond)
		a.Expect(`453-["batch",[1,{"x":`+p0+`},[`+p1+`,{"_placeholder":true,"num":2}]]]`, "b:0a", "b:15", "b:14")
		plain.Expect(`{"event":"batch","args":[[1,{"x":{"$bin":"Cg=="}},[{"$bin":"FQ=="},{"$bin":"FA=="}]]]}`)

		// Data that looks like a placeholder does not come beside binary values.
		collect(`42["u",` + p0 + `]`)
		collect(`451-["u",`+p0+`]`, 30)
		a.Expect(`42["batch",[` + p0 + `]]`)
		collect(`42["u",{"\u005fplaceholder":true}]`)
		a.Expect(`451-["batch",[`+p0+`]]`, "b:1e")
		collect(`42["u",2]`)
		time.Sleep(101 * time.Millisecond)
		a.Expect(`42["batch",[{"\u005fplaceholder":true},2]]`)

		// A packet has ten.
		for i := range byte(6) {
			collect(`452-["u",[`+p0+`,`+p1+`]]`, i, i)
		}
		if got := a.Next(); !strings.HasPrefix(got, `4510-["batch",[[`) {
			t.Errorf("a full batch: %s", got)
		}
		for i := range 10 {
			a.Expect(fmt.Sprintf("b:%02x", i/2))
		}
		time.Sleep(101 * time.Millisecond)
		a.Expect(`452-["batch",[[`+p0+`,`+p1+`]]]`, "b:05", "b:05")
		m.Each(func(use string, bytes int64) {
			if use == budget.Batches.String() && bytes != 0 {
				t.Errorf("%d bytes are held for batches", bytes)
			}
		})
	})
}

// slowLog blocks whoever logs a refusal until it is released.
type slowLog struct {
	slog.Handler
	entered, release chan struct{}
}

func (l slowLog) Enabled(context.Context, slog.Level) bool { return true }

func (l slowLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "refused" {
		close(l.entered)
		<-l.release
	}
	return nil
}

// A call that holds the queue may end on another goroutine
// before the policy has returned. Its answer still comes before the next one's.
func TestAnswerComesBeforeTheNextEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slowLog{slog.DiscardHandler, make(chan struct{}), make(chan struct{})}
		p := &script{event: func(c hub.Call) {
			if c.Event().Name == "next" {
				c.End(nil)
				return
			}
			c.Suspend(true)
			go c.End(&hub.Refusal{Code: hub.Invalid, Message: "no", Cause: errors.New("cause")})
			<-log.entered
		}}
		h := hub.New(hub.Config{Logger: slog.New(log), Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: p}}})
		n := siotest.Serve(t, http.HandlerFunc(h.Engine().ServeHTTP))
		t.Cleanup(h.Close)
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		c.Send(`421["slow"]`)
		c.Send(`422["next"]`)
		synctest.Wait()
		close(log.release)
		c.Expect(`431[{"error":"no","code":"INVALID"}]`)
		c.Expect(`432[]`)
	})
}
