// Package dryrun runs one event through rules without a server and tells what
// each step would do. Nothing reaches anybody.
//
// hub, rules → **dryrun** → root's command.
package dryrun

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
	"github.com/caddy-realtime/realtime/rules"
)

// Event is what is run.
type Event struct {
	Name    string            // a client's event, "connect" or "disconnect"
	Args    json.RawMessage   // a JSON array; nil: none
	Reason  string            // of disconnect
	Answers []json.RawMessage // what the client answers to `ask`, each a JSON array; then it does not
}

// Step is one step that was reached, and what it did.
type Step struct {
	rules.Place
	Effects []Effect
	// Refusal is why the rule ended here, nil if it did not.
	Refusal *hub.Refusal
	// Entered says of an if whether its block was.
	Entered bool
}

// Result is what an event did.
type Result struct {
	Steps   []Step
	Refusal *hub.Refusal // nil if it was not refused
	// Answer are the arguments of the acknowledgement, a JSON array; nil if
	// the event is not acknowledged: it is ignored, or refused.
	Answer json.RawMessage
	// Deliveries are what sockets get, the one that sent the event included.
	Deliveries []Delivery

	kicked bool // by the step disconnect
}

const maxDepth = 128 // as of a client's message

// Run runs an event. compile makes the rules with the options given, to which
// it may add. It returns an error only for what is wrong with the event and
// the socket.
func Run(e Event, s Socket, compile func(rules.Options) (*rules.Set, error)) (*Result, error) {
	if err := s.complete(); err != nil {
		return nil, err
	}
	w := &World{sockets: []*Socket{&s}}
	return w.run(e, &s, compile)
}

// run runs an event of a socket in the world.
func (w *World) run(e Event, s *Socket, compile func(rules.Options) (*rules.Set, error)) (*Result, error) {
	c := &call{world: w, event: e, socket: s}
	if err := c.takeArgs(); err != nil {
		return nil, err
	}
	set, err := compile(rules.Options{Trace: c, Logger: slog.New(logHandler{call: c})})
	if err != nil {
		return nil, err
	}
	switch e.Name {
	case "connect":
		set.Connect(c)
	case "disconnect":
		set.Disconnect(c)
	default:
		set.Event(c)
	}
	c.result.kicked = c.kicked
	return &c.result, nil
}

var errArray = errors.New("the arguments must be a JSON array")

// takeArgs reads the event's arguments as the hub would have them: without
// their brackets.
func (c *call) takeArgs() error {
	if c.event.Args == nil {
		return nil
	}
	args, err := inside(c.event.Args)
	c.args.JSON = args
	return err
}

// inside is what stands between the brackets of a JSON array.
func inside(array []byte) ([]byte, error) {
	if _, err := rawjson.CheckArray(array, maxDepth); err != nil {
		return nil, errArray
	}
	array = rawjson.Trim(array)
	return rawjson.Trim(array[1 : len(array)-1]), nil
}

// array puts arguments between brackets. Binary ones do not come from JSON but
// expressions can make them; they stay placeholders.
func array(a parser.Args) json.RawMessage {
	return append(append(json.RawMessage{'['}, a.JSON...), ']')
}

// logHandler makes what the step log writes an effect.
type logHandler struct{ call *call }

func (h logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h logHandler) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "value" {
			value := logged(a.Value.String())
			h.call.did(Effect{Do: "log", Value: value}, "logs "+string(value))
		}
		return true
	})
	return nil
}

// logged is JSON of what was logged, which may have been cut.
func logged(text string) json.RawMessage {
	if !json.Valid([]byte(text)) {
		return rawjson.AppendQuote(nil, text)
	}
	return json.RawMessage(text)
}

func (h logHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h logHandler) WithGroup(string) slog.Handler      { return h }
