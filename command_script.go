package realtime

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/caddy-realtime/realtime/internal/dryrun"
	"github.com/caddy-realtime/realtime/rules"
)

// scriptRun runs a script against the rules of a block.
type scriptRun struct {
	handler *Handler
	file    string
	world   dryrun.World
	sockets map[string]*dryrun.Socket
	rules   map[string]compiled // of each client's namespace
}

// runScript prints one line for each event, and below it what was not expected
// with the steps that were run.
func runScript(w io.Writer, h *Handler, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	script, err := dryrun.ParseScript(file, string(text))
	if err != nil {
		return err
	}
	s := &scriptRun{handler: h, file: file, sockets: map[string]*dryrun.Socket{}, rules: map[string]compiled{}}
	failed := 0
	for _, line := range script {
		result, err := s.line(line)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", file, line.Number, err)
		}
		problems := line.Check(result, s.sockets)
		if len(problems) > 0 {
			failed++
		}
		if err := s.print(w, line, result, problems); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d events are not as expected", failed, len(script))
	}
	return nil
}

func (s *scriptRun) print(w io.Writer, line *dryrun.Line, r *dryrun.Result, problems []dryrun.Problem) error {
	word := "ok"
	if len(problems) > 0 {
		word = "FAILED"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s:%d: %s → %s\n", s.file, line.Number, line.Text, word)
	for _, p := range problems {
		fmt.Fprintf(&b, "  %s:%d: %s\n", s.file, p.Line, p.Text)
	}
	if len(problems) > 0 {
		for text := range bytes.Lines([]byte(newReport(r, false).text())) {
			fmt.Fprintf(&b, "    %s", text)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (s *scriptRun) line(l *dryrun.Line) (*dryrun.Result, error) {
	if l.Does == "client" {
		return s.connect(l)
	}
	socket := s.sockets[l.Client]
	if !s.world.Connected(socket) {
		return nil, fmt.Errorf("%s is not connected", l.Client)
	}
	e := dryrun.Event{Name: l.Name, Args: l.Args, Answers: l.Answer}
	if l.Does == "disconnects" {
		reason := []string{}
		if err := json.Unmarshal(l.Args, &reason); err != nil || len(reason) > 1 {
			return nil, errors.New(`write the reason as one string, as in: disconnects "transport close"`)
		}
		e = dryrun.Event{Name: "disconnect", Reason: "transport close"}
		if len(reason) == 1 {
			e.Reason = reason[0]
		}
	}
	return s.world.Event(e, socket, s.rules[l.Client])
}

// connect makes the client of a line.
func (s *scriptRun) connect(l *dryrun.Line) (*dryrun.Result, error) {
	var with struct {
		User      json.RawMessage `json:"user"`
		Namespace string          `json:"namespace"`
		Rooms     []string        `json:"rooms"`
		Data      json.RawMessage `json:"data"`
		Handshake json.RawMessage `json:"handshake"`
	}
	if l.With != nil {
		d := json.NewDecoder(bytes.NewReader(l.With))
		d.DisallowUnknownFields()
		if err := d.Decode(&with); err != nil {
			return nil, fmt.Errorf("client %s: %w; there are user, namespace, rooms, data and handshake", l.Client, err)
		}
	}
	with.Namespace = cmp.Or(with.Namespace, "/")
	n, compile, err := s.handler.rulesOf(with.Namespace)
	if err != nil {
		return nil, err
	}
	for _, e := range l.Expect {
		if e.Kind == "ack" {
			return nil, errors.New("ack: a connect is not acknowledged")
		}
	}
	socket := &dryrun.Socket{Namespace: with.Namespace, Rooms: with.Rooms, Data: with.Data, Handshake: with.Handshake}
	switch {
	case with.User != nil:
		user := string(with.User)
		if user[0] == '"' {
			if err := json.Unmarshal(with.User, &user); err != nil {
				return nil, err
			}
		}
		id, err := s.handler.identity(n, user)
		if err != nil {
			return nil, fmt.Errorf("client %s: %w", l.Client, err)
		}
		socket.UserID, socket.Claims = id.ID, id.Claims
	case s.handler.anonymity(n) == rules.NobodyAnonymous:
		return nil, fmt.Errorf(`client %s: auth lets no one in without a token; write client %[1]s {"user": "ann"}`, l.Client)
	}
	s.sockets[l.Client], s.rules[l.Client] = socket, compile
	return s.world.Connect(socket, compile)
}
