package dryrun

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Script is what several clients do, in order, with what is expected of each
// event:
//
//	client ann {"user": "ann"}
//	client bob {"user": "bob", "rooms": ["lobby"]}
//	ann emits send-message {"roomId": "lobby", "text": "hi"}
//	  refused FORBIDDEN "Not in this room"
//	ann emits join-room "lobby"
//	  bob gets user-joined {"userId": "ann"}
//	  ann gets nothing
//	ann disconnects
//
// `client` connects. What is expected stands indented below: `refused <CODE>
// [<message>]`, `ack <value>…`, `<client> gets <event> <value>…` and `<client>
// gets nothing`; `answers <value>…` is what the client answers to the rule's next
// ask. Values are JSON and may go over several lines. Of an object, fields that
// are not named may be anything.
type Script []*Line

// Line is an event of a Script.
type Line struct {
	Number int    // in the file
	Text   string // its first line
	Client string
	Does   string // "client", "emits" or "disconnects"
	Name   string // of the event
	Args   json.RawMessage
	With   json.RawMessage // of client; nil: nothing
	Expect []Expectation
	Answer []json.RawMessage
}

// Expectation is a line below an event.
type Expectation struct {
	Number  int
	Text    string
	Client  string // that gets something; "" for refused and ack
	Kind    string // "refused", "ack", "gets" or "nothing"
	Name    string // of the event, or the code
	Args    json.RawMessage
	Message string
}

// ParseScript reads a Script. Errors begin with file and line.
func ParseScript(file, text string) (Script, error) {
	p := &scriptParser{lines: strings.Split(text, "\n"), clients: map[string]bool{}}
	for p.next < len(p.lines) {
		number := p.next + 1
		if err := p.line(); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, number, err)
		}
	}
	return p.script, nil
}

type scriptParser struct {
	lines   []string
	next    int
	script  Script
	clients map[string]bool
}

func (p *scriptParser) line() error {
	text := p.lines[p.next]
	p.next++
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "" || trimmed[0] == '#':
		return nil
	case trimmed != strings.TrimRight(text, " \t\r"): // indented
		if len(p.script) == 0 {
			return errors.New("an indented line must follow an event")
		}
		return p.expectation(p.script[len(p.script)-1], trimmed)
	}
	return p.event(trimmed)
}

const eventForms = "write client <name> {…}, <client> emits <event> <value>… or <client> disconnects"

// notEmitted are the rules that no event of a client runs, and what does.
var notEmitted = map[string]string{
	"connect":    "client <name> {…}",
	"disconnect": "<client> disconnects",
}

func (p *scriptParser) event(text string) error {
	first, rest := cutWord(text)
	second, rest := cutWord(rest)
	l := &Line{Number: p.next, Text: text, Client: first, Does: second}
	var err error
	switch {
	case first == "client" && second != "":
		l.Client, l.Does = second, "client"
		if p.clients[second] {
			return fmt.Errorf("there is a client %s already", second)
		}
		p.clients[second] = true
		if l.With, err = p.object(rest); err != nil {
			return err
		}
	case second == "emits":
		if l.Name, rest = cutWord(rest); l.Name == "" {
			return errors.New("the event is missing")
		}
		l.Name = strings.Trim(l.Name, `"`)
		if hint := notEmitted[l.Name]; hint != "" {
			return fmt.Errorf("a client cannot send %s; write %s", l.Name, hint)
		}
		l.Args, err = p.values(rest)
	case second == "disconnects":
		l.Args, err = p.values(rest)
	default:
		return errors.New("unknown event; " + eventForms)
	}
	if err == nil && !p.clients[l.Client] {
		err = fmt.Errorf("there is no client %s; write client %[1]s before", l.Client)
	}
	p.script = append(p.script, l)
	return err
}

const expectationForms = "write refused <CODE>, ack <value>…, answers <value>…, <client> gets <event> <value>… or <client> gets nothing"

func (p *scriptParser) expectation(l *Line, text string) (err error) {
	e := Expectation{Number: p.next, Text: text}
	first, rest := cutWord(text)
	switch {
	case first == "refused":
		e.Kind = first
		e.Name, rest = cutWord(rest)
		if rest != "" {
			err = json.Unmarshal([]byte(rest), &e.Message)
		}
	case first == "ack":
		e.Kind = first
		e.Args, err = p.values(rest)
	case first == "answers":
		var answer json.RawMessage
		answer, err = p.values(rest)
		l.Answer = append(l.Answer, answer)
		return err
	case strings.HasPrefix(rest, "gets "):
		_, rest = cutWord(rest)
		e.Client, e.Kind = first, "gets"
		if e.Name, rest = cutWord(rest); e.Name == "nothing" && rest == "" {
			e.Kind = "nothing"
		}
		if !p.clients[first] {
			return fmt.Errorf("there is no client %s", first)
		}
		e.Name = strings.Trim(e.Name, `"`)
		e.Args, err = p.values(rest)
	default:
		return errors.New("unknown expectation; " + expectationForms)
	}
	l.Expect = append(l.Expect, e)
	return err
}

func cutWord(text string) (word, rest string) {
	word, rest, _ = strings.Cut(strings.TrimSpace(text), " ")
	return word, strings.TrimSpace(rest)
}

func (p *scriptParser) object(text string) (json.RawMessage, error) {
	list, err := p.values(text)
	switch {
	case err != nil || string(list) == "[]":
		return nil, err
	case !strings.HasPrefix(string(list), "[{"):
		return nil, errors.New(`write what is known of the client as an object: {"user": "ann"}`)
	}
	return list[1 : len(list)-1], nil
}

// values reads JSON values, which may continue in the next lines, as an array.
func (p *scriptParser) values(text string) (json.RawMessage, error) {
	for {
		list, err := decodeValues(text)
		if errors.Is(err, io.ErrUnexpectedEOF) && p.next < len(p.lines) {
			text += "\n" + p.lines[p.next]
			p.next++
			continue
		}
		if err != nil {
			return nil, fmt.Errorf(`%s is not JSON: %w; separate values by spaces, and put strings in double quotes`, strings.TrimSpace(text), err)
		}
		return json.Marshal(list)
	}
}

func decodeValues(text string) ([]json.RawMessage, error) {
	list := []json.RawMessage{}
	d := json.NewDecoder(strings.NewReader(text))
	for {
		var v json.RawMessage
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}

// Check says what of an event's result was not expected, each problem with the
// number of its line.
func (l *Line) Check(r *Result, sockets map[string]*Socket) (problems []Problem) {
	left := slices.Clone(r.Deliveries)
	refused := false
	for _, e := range l.Expect {
		said := ""
		switch e.Kind {
		case "refused":
			refused = true
			switch {
			case r.Refusal == nil:
				said = "it was not refused"
			case string(r.Refusal.Code) != e.Name || e.Message != "" && e.Message != r.Refusal.Message:
				said = fmt.Sprintf("it was refused %s %q", r.Refusal.Code, r.Refusal.Message)
			}
		case "ack":
			if r.Answer == nil || !matches(e.Args, r.Answer) {
				said = "the acknowledgement was " + answerText(r)
			}
		case "nothing":
			if got := got(left, sockets[e.Client]); got != "" {
				said = fmt.Sprintf("%s got %s", e.Client, got)
			}
		case "gets":
			i := slices.IndexFunc(left, func(d Delivery) bool {
				return d.To == sockets[e.Client] && d.Event == e.Name && matches(e.Args, d.Args)
			})
			if i < 0 {
				said = fmt.Sprintf("%s got %s", e.Client, orNothing(got(left, sockets[e.Client])))
			} else {
				left = slices.Delete(left, i, i+1)
			}
		}
		if said != "" {
			problems = append(problems, Problem{e.Number, e.Text + ": " + said})
		}
	}
	if r.Refusal != nil && !refused {
		problems = append(problems, Problem{l.Number, fmt.Sprintf("%s: it was refused %s %q", l.Text, r.Refusal.Code, r.Refusal.Message)})
	}
	return problems
}

// Problem is something that was not as expected.
type Problem struct {
	Line int
	Text string
}

func answerText(r *Result) string {
	if r.Answer == nil {
		return "none"
	}
	return string(r.Answer)
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// got lists what a socket got.
func got(list []Delivery, s *Socket) string {
	var words []string
	for _, d := range list {
		if d.To == s {
			words = append(words, d.Event+string(d.Args))
		}
	}
	return strings.Join(words, ", ")
}

// matches reports whether actual is what is expected, except for fields of
// objects that are not.
func matches(expected, actual json.RawMessage) bool {
	var e, a any
	if json.Unmarshal(expected, &e) != nil || json.Unmarshal(actual, &a) != nil {
		return false
	}
	return matchValues(e, a)
}

func matchValues(expected, actual any) bool {
	switch e := expected.(type) {
	case map[string]any:
		a, ok := actual.(map[string]any)
		for key, v := range e {
			value, has := a[key]
			ok = ok && has && matchValues(v, value)
		}
		return ok
	case []any:
		a, ok := actual.([]any)
		return ok && slices.EqualFunc(e, a, matchValues)
	}
	return expected == actual
}
