package realtime

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/spf13/cobra"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/dryrun"
	"github.com/caddy-realtime/realtime/rules"
)

// testFlags are those of `caddy realtime test`.
type testFlags struct {
	hub, namespace              string
	args, user, data, handshake string
	rooms, answers              []string
	reason, expect, script      string
	ack, json                   bool
}

func testCommand() *cobra.Command {
	f := &testFlags{}
	cmd := &cobra.Command{
		Use:   "test <Caddyfile> <event>",
		Short: "Runs one event through the rules, offline",
		Long: `Runs one event through the rules of a Caddyfile and prints what each step would
do: what it would send to whom, and why it refuses. Nothing is sent, no server
runs, and the client is the only one there is.

The event may be connect or disconnect. The command fails if the event is
refused; with --expect, if its outcome is another: ok, or a code such as
FORBIDDEN.`,
		Example: `  caddy realtime test Caddyfile send-message --args '[{"roomId": "lobby", "text": "hi"}]' --user ann --rooms lobby
  caddy realtime test Caddyfile send-message --args '[{"roomId": "lobby", "text": "hi"}]' --expect FORBIDDEN
  caddy realtime test Caddyfile --script chat.test`,
		Args: func(cmd *cobra.Command, args []string) error {
			if f.script != "" {
				return cobra.ExactArgs(1)(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.script == "" {
				return f.run(cmd.OutOrStdout(), args[0], args[1])
			}
			h, err := f.handler(args[0])
			if err != nil {
				return err
			}
			return runScript(cmd.OutOrStdout(), h, f.script)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.args, "args", "", "the event's arguments, a JSON array")
	flags.StringVar(&f.user, "user", "", "the user's id, or the token's claims as a JSON object; default: anonymous, if auth allows that")
	flags.StringSliceVar(&f.rooms, "rooms", nil, "the rooms that the socket is in, separated by commas")
	flags.StringVar(&f.data, "data", "", "socket.data, a JSON object")
	flags.StringVar(&f.handshake, "handshake", "", "keys of socket.handshake, a JSON object")
	flags.BoolVar(&f.ack, "ack", false, "the client asks for an acknowledgement")
	flags.StringArrayVar(&f.answers, "answer", nil, "what the client answers to the next ask, a JSON array; default: nothing")
	flags.StringVar(&f.reason, "reason", "transport close", "the reason of disconnect")
	flags.StringVar(&f.expect, "expect", "ok", "the outcome: ok, or the code of a refusal")
	flags.StringVar(&f.hub, "hub", "", "the hub, if the Caddyfile has several")
	flags.StringVar(&f.namespace, "namespace", "/", "the namespace")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	flags.StringVar(&f.script, "script", "", "a file with the events of several clients and what is expected, instead of an event")
	for _, other := range []string{"args", "user", "rooms", "data", "handshake", "ack", "answer", "reason", "expect", "namespace", "json"} {
		cmd.MarkFlagsMutuallyExclusive("script", other)
	}
	return cmd
}

func (f *testFlags) run(w io.Writer, path, event string) error {
	h, err := f.handler(path)
	if err != nil {
		return err
	}
	n, compile, err := h.rulesOf(f.namespace)
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	if err := checkOutcome(f.expect, compile); err != nil {
		return err
	}
	if f.user == "" && h.anonymity(n) == rules.NobodyAnonymous {
		return errors.New("auth lets no one in without a token; give the user's id or claims with --user")
	}
	socket := dryrun.Socket{Namespace: f.namespace, Rooms: f.rooms, Data: raw(f.data), Handshake: raw(f.handshake)}
	if f.user != "" {
		id, err := h.identity(n, f.user)
		if err != nil {
			return fmt.Errorf("--user: %w", err)
		}
		socket.UserID, socket.Claims = id.ID, id.Claims
	}
	e := dryrun.Event{Name: event, Args: raw(f.args), Reason: f.reason}
	for _, answer := range f.answers {
		e.Answers = append(e.Answers, raw(answer))
	}
	result, err := dryrun.Run(e, socket, compile)
	if err != nil {
		return err
	}
	if err := f.print(w, result); err != nil {
		return err
	}
	if got := outcome(result); got != f.expect {
		return fmt.Errorf("the outcome is %s, not %s", got, f.expect)
	}
	return nil
}

// check refuses flags that cannot be meant.
func (f *testFlags) check() error {
	for _, flag := range []struct {
		name, value string
		begin       byte
		is, like    string
	}{
		{"args", f.args, '[', "a JSON array of the event's arguments", `[{"id": "1"}, "second"]`},
		{"data", f.data, '{', "a JSON object", `{"name": "Ann"}`},
		{"handshake", f.handshake, '{', "a JSON object", `{"auth": {"name": "Ann"}}`},
	} {
		value := strings.TrimSpace(flag.value)
		switch {
		case value == "" || value[0] == flag.begin && json.Valid([]byte(value)):
		case flag.begin == '[' && json.Valid([]byte(value)):
			return fmt.Errorf("--%s must be %s: --%[1]s '[%[3]s]'", flag.name, flag.is, value)
		default:
			return fmt.Errorf("--%s must be %s, as in: --%[1]s '%[3]s'", flag.name, flag.is, flag.like)
		}
	}
	for _, answer := range f.answers {
		if value := strings.TrimSpace(answer); !strings.HasPrefix(value, "[") || !json.Valid([]byte(value)) {
			return errors.New(`--answer must be a JSON array of what the client answers, as in: --answer '[true]'`)
		}
	}
	return nil
}

// compiled are the rules of a namespace, once they are compiled.
type compiled = func(rules.Options) (*rules.Set, error)

// rulesOf finds a namespace.
func (h *Handler) rulesOf(name string) (*Namespace, compiled, error) {
	n, allowRooms, err := h.namespace(name)
	if err != nil {
		return nil, nil, err
	}
	return n, func(o rules.Options) (*rules.Set, error) {
		o.AllowRooms, o.IsNamespace = allowRooms, h.isNamespace
		set, _, err := n.compile(o, cmp.Or(n.Presence, h.Presence))
		return set, err
	}, nil
}

// checkOutcome refuses an outcome that no rule has.
func checkOutcome(outcome string, compile compiled) error {
	set, err := compile(rules.Options{})
	if err != nil {
		return err
	}
	known := []string{"ok"}
	for _, code := range append(hub.Codes(), set.Codes()...) {
		if !slices.Contains(known, string(code)) {
			known = append(known, string(code))
		}
	}
	if slices.Contains(known, outcome) {
		return nil
	}
	return fmt.Errorf("unknown outcome %s%s", outcome, rules.Suggest(outcome, "the outcomes", known))
}

// identity is that of a client of the namespace: user is the claims of its
// token, a JSON object, or only its id.
func (h *Handler) identity(n *Namespace, user string) (*auth.Identity, error) {
	var method struct {
		UserClaims []string `json:"user_claim"`
	}
	if raw := h.authOf(n); raw != nil {
		if err := json.Unmarshal(raw, &method); err != nil {
			return nil, err
		}
	}
	if strings.HasPrefix(strings.TrimSpace(user), "{") {
		return auth.IdentityOf([]byte(user), method.UserClaims)
	}
	name := "sub"
	if len(method.UserClaims) > 0 {
		name = method.UserClaims[0]
	}
	claims, err := json.Marshal(map[string]string{name: user})
	if err != nil {
		return nil, err
	}
	return auth.IdentityOf(claims, method.UserClaims)
}

// raw is the JSON of a flag; nil if it was not given.
func raw(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// handler adapts the Caddyfile and returns the block with the hub asked for.
func (f *testFlags) handler(path string) (*Handler, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []*Handler
	collect := func(h *Handler) { all = append(all, h) }
	options := map[string]any{"filename": path, collectOption: collect}
	if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, options); err != nil {
		return nil, err
	}
	// Blocks of one hub agree.
	all = slices.CompactFunc(all, func(a, b *Handler) bool { return a.Hub == b.Hub })
	var hubs []string
	for _, h := range all {
		if h.Hub == f.hub || f.hub == "" && len(all) == 1 {
			return h, nil
		}
		hubs = append(hubs, cmp.Or(h.Hub, `""`))
	}
	if len(all) == 0 {
		return nil, errors.New("the Caddyfile has no realtime block")
	}
	return nil, fmt.Errorf("choose a hub with --hub: %s", strings.Join(hubs, ", "))
}

// namespace returns the configuration of a namespace, and the allow_rooms in
// force there.
func (h *Handler) namespace(name string) (n *Namespace, allowRooms string, err error) {
	if name == "/" {
		return &h.Namespace, h.AllowRooms, nil
	}
	for _, exact := range []bool{true, false} {
		for _, n := range h.Namespaces {
			if n.matches(name, exact) {
				return &n.Namespace, cmp.Or(n.AllowRooms, h.AllowRooms), nil
			}
		}
	}
	return nil, "", fmt.Errorf("there is no namespace %s", name)
}

// isNamespace reports whether there may be a namespace called name.
func (h *Handler) isNamespace(name string) bool {
	return name == "/" || slices.ContainsFunc(h.Namespaces, func(n *NamedNamespace) bool {
		return n.matches(name, true) || n.matches(name, false)
	})
}

// matches reports whether n is called name or, unless exact, has a pattern for
// it.
func (n *NamedNamespace) matches(name string, exact bool) bool {
	if exact || n.Pattern == "" {
		return n.Pattern == "" && n.Name == name
	}
	pattern, err := regexp.Compile(`\A(?:` + n.Pattern + `)\z`)
	return err == nil && pattern.MatchString(name)
}

// outcome is the word for it: ok, or a code.
func outcome(r *dryrun.Result) string {
	if r.Refusal != nil {
		return string(r.Refusal.Code)
	}
	return "ok"
}

func (f *testFlags) print(w io.Writer, r *dryrun.Result) error {
	report := newReport(r, f.ack)
	if f.json {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(report)
	}
	_, err := io.WriteString(w, report.text())
	return err
}

// report is what is printed of a Result.
type report struct {
	Steps   []reportedStep  `json:"steps"`
	Outcome string          `json:"outcome"`
	Message string          `json:"message,omitempty"`
	Cause   string          `json:"cause,omitempty"`
	Answer  json.RawMessage `json:"answer,omitempty"` // arguments of the acknowledgement
}

type reportedStep struct {
	At      string          `json:"at"`
	Step    string          `json:"step"`
	Source  string          `json:"source,omitempty"`
	Did     string          `json:"did"`
	Effects []dryrun.Effect `json:"effects,omitempty"`
}

func newReport(r *dryrun.Result, ack bool) *report {
	out := &report{Outcome: outcome(r), Steps: []reportedStep{}}
	lines := sources{}
	for i := range r.Steps {
		s := &r.Steps[i]
		out.Steps = append(out.Steps, reportedStep{
			At: at(s.Place), Step: s.Step, Source: lines.line(s.Place), Did: did(s), Effects: s.Effects,
		})
	}
	if r.Refusal != nil {
		out.Message = r.Refusal.Message
		if r.Refusal.Cause != nil {
			out.Cause = r.Refusal.Cause.Error()
		}
	}
	if ack {
		out.Answer = r.Answer
		if r.Refusal != nil && r.Answer == nil {
			out.Answer = refusedAnswer(r.Refusal)
		}
	}
	return out
}

// refusedAnswer is the acknowledgement of a refused event.
func refusedAnswer(r *hub.Refusal) json.RawMessage {
	text, err := json.Marshal([]any{struct {
		Error string   `json:"error"`
		Code  hub.Code `json:"code"`
	}{r.Message, r.Code}})
	if err != nil {
		return nil // there is nothing in it that could fail
	}
	return text
}

func at(p rules.Place) string {
	if p.File == "" {
		return p.Path
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// did is what a step did, in words.
func did(s *dryrun.Step) string {
	var words []string
	for _, e := range s.Effects {
		words = append(words, e.String())
	}
	switch {
	case s.Refusal != nil:
		words = append(words, "refused "+string(s.Refusal.Code))
	case s.Step == "if" && s.Entered:
		words = append(words, "true")
	case s.Step == "if":
		words = append(words, "false")
	case len(words) == 0:
		words = append(words, "passed")
	}
	return strings.Join(words, "; ")
}

func (r *report) text() string {
	var b strings.Builder
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "%s: %s → %s\n", s.At, cmp.Or(s.Source, s.Step), s.Did)
	}
	b.WriteString(r.Outcome)
	if r.Message != "" {
		b.WriteString(": " + r.Message)
	}
	if r.Cause != "" {
		b.WriteString(" (" + r.Cause + ")")
	}
	b.WriteByte('\n')
	if r.Answer != nil {
		fmt.Fprintf(&b, "acknowledged: %s\n", r.Answer)
	}
	return b.String()
}

// sources are the lines of the files that steps stand in.
type sources map[string][]string

// line is the line of a step, "" if its file cannot be read.
func (s sources) line(p rules.Place) string {
	lines, known := s[p.File]
	if !known {
		lines = strings.Split(sourceOf(p.File), "\n")
		s[p.File] = lines
	}
	if p.Line < 1 || p.Line > len(lines) {
		return ""
	}
	return strings.Join(strings.Fields(lines[p.Line-1]), " ")
}

func sourceOf(file string) string {
	if preset, ok := strings.CutPrefix(file, "preset "); ok {
		source, _ := rules.PresetSource(preset)
		return source
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(text)
}
