package rules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/testenv"
	"github.com/caddy-realtime/realtime/rules"
)

// adversarial are expressions that give each function of the environment 64 KB
// of the worst; s is the text, t another, l a list, m a map of a client. A
// function of the environment that is not among them fails the test.
var adversarial = map[string][]string{
	// Operators; what they are called within CEL.
	"_?_:_": {`data.s == "" ? data.l : data.m`},
	"_&&_":  {`data.s == data.t && data.l == data.m`},
	"_||_":  {`data.s == "" || data.l == data.e`},
	"!_":    {`!(data.s == data.t)`},
	"_==_":  {`data.s == data.t`, `data.l == data.l + [1]`, `data.m == data.n`, `data.ll == data.ll`},
	"_!=_":  {`data.s != data.t`, `data.m != data.m`},
	"_+_":   {`data.s + data.s + data.s`, `data.l + data.l`, `size(data.l + data.l) > 1`, `bytes(data.s) + bytes(data.s)`, `data.i + 1.5`},
	"_-_":   {`data.i - data.i`, `data.i - 1.5`}, "-_": {`-data.i`},
	"_*_": {`data.i * data.i`, `1.5 * data.i`, `data.l.all(x, 2 * 1.5 > 1)`}, "_/_": {`data.i / data.i`, `data.i / 1.5`}, "_%_": {`data.i % data.i`},
	"_<_": {`data.s < data.t`, `bytes(data.s) < bytes(data.t)`}, "_<=_": {`data.s <= data.t`},
	"_>_": {`data.s > data.t`}, "_>=_": {`data.s >= data.t`},
	"_[_]":                {`data.m[data.k]`, `data.l[data.i]`},
	"@in":                 {`data.s in data.l`, `data.k in data.m`, `data.l in data.ll`, `data.m in data.mm`},
	"in":                  {`data.s in data.l`},
	"_in_":                {`data.s in data.l`},
	"size":                {`size(data.s)`, `size(data.l)`, `data.m.size()`, `size(bytes(data.s))`},
	"type":                {`type(data.m) == map && type([data.m][0]) == map`},
	"bool":                {`bool(data.s)`},
	"bytes":               {`bytes(data.s)`, `bytes(data.u)`},
	"double":              {`double(data.d)`, `double(data.s)`},
	"duration":            {`duration(data.d)`, `duration(data.h)`},
	"dyn":                 {`dyn(data.m)`},
	"int":                 {`int(data.d)`},
	"string":              {`string(data.s)`, `string(bytes(data.s))`, `string(data.d)`},
	"timestamp":           {`timestamp(data.d)`},
	"uint":                {`uint(data.d)`},
	"contains":            {`data.s.contains(data.half)`},
	"endsWith":            {`data.s.endsWith(data.half)`},
	"startsWith":          {`data.s.startsWith(data.half)`},
	"matches":             {`data.s.matches("^(a|aa)*b$")`, `matches(data.s, "(a*)*(b|c)$")`},
	"getFullYear":         {`timestamp(data.i).getFullYear("Europe/Berlin")`},
	"getMonth":            {`timestamp(data.i).getMonth()`},
	"getDayOfYear":        {`timestamp(data.i).getDayOfYear()`},
	"getDayOfMonth":       {`timestamp(data.i).getDayOfMonth()`},
	"getDate":             {`timestamp(data.i).getDate()`},
	"getDayOfWeek":        {`timestamp(data.i).getDayOfWeek()`},
	"getHours":            {`timestamp(data.i).getHours()`},
	"getMinutes":          {`timestamp(data.i).getMinutes()`},
	"getSeconds":          {`timestamp(data.i).getSeconds()`},
	"getMilliseconds":     {`timestamp(data.i).getMilliseconds()`},
	"charAt":              {`data.s.charAt(data.i)`, `data.u.charAt(5)`},
	"indexOf":             {`data.s.indexOf(data.half)`, `data.s.indexOf(data.half, 10)`, `data.u.indexOf("x")`},
	"lastIndexOf":         {`data.s.lastIndexOf(data.half)`, `data.s.lastIndexOf(data.half, 20000)`},
	"lowerAscii":          {`data.s.lowerAscii()`, `data.u.lowerAscii()`},
	"upperAscii":          {`data.s.upperAscii()`},
	"replace":             {`data.s.replace("a", data.half)`, `data.s.replace("", data.half)`, `data.s.replace(data.half, data.s, 1)`},
	"split":               {`data.s.split("")`, `data.s.split("a", data.i)`},
	"substring":           {`data.s.substring(5)`, `data.u.substring(5, 6)`},
	"trim":                {`data.space.trim()`},
	"format":              {`"%s %s %s".format([data.s, data.l, data.m])`, `"%x".format([data.s])`, `"%.100f".format([1.0])`},
	"strings.quote":       {`strings.quote(data.s)`, `strings.quote(data.q)`},
	"join":                {`data.l.join(data.half)`, `data.l.join()`, `data.e.join(data.half)`},
	"reverse":             {`data.s.reverse()`, `data.u.reverse()`},
	"uuid":                {`uuid()`},
	"merge":               {`merge(data.m, data.n)`, `size(merge(merge(data.m, data.n), data.m))`},
	"user_room":           {`user_room(data.s) == user_room(data.t)`},
	"socket_room":         {`socket_room(data.s) == socket_room(data.t)`},
	"in_room":             {`in_room(data.s)`},
	"member_count":        {`member_count(data.s)`},
	"members":             {`members(data.s)`},
	"online":              {`online()`},
	"is_online":           {`is_online(data.s)`},
	"last_seen":           {`last_seen(data.s)`},
	"@not_strictly_false": {`data.l.exists(x, x == data.s)`, `data.l.all(x, data.l.all(y, data.l.all(z, x + y + z != data.s)))`},
	"__not_strictly_false__": {`data.l.exists(x, data.l.exists(y, x + y == "b"))`,
		`data.l.map(x, data.l.map(y, data.l))`, `data.l.filter(x, data.s.replace("a", x) == "")`},
}

// hostileArgs are arguments in which each name of adversarial has about size
// bytes.
func hostileArgs(size int) string {
	numbers := func(prefix string) string { // a map of many members
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`"` + prefix)
			for n := i; n > 0; n /= 10 {
				b.WriteByte(byte('0' + n%10))
			}
			b.WriteString(`.":1`)
		}
		return "{" + b.String() + "}"
	}
	quoted := func(s string) string { return `"` + s + `"` }
	values := map[string]string{
		"s": quoted(repeat("a", size)), "t": quoted(repeat("a", size-1) + "b"), "half": quoted(repeat("a", size/2) + "b"),
		"l": "[" + repeat(`"a",`, size/4) + `"b"]`, "e": "[" + repeat(`"",`, size/3) + `""]`, "ll": repeat("[", 30) + `"` + repeat("a", size) + `"` + repeat("]", 30),
		"m": numbers("a"), "n": numbers("b"), "mm": "[" + repeat(`{},`, size/3) + `{}]`, "k": quoted("a9."), "i": "9999",
		"d": quoted(repeat("1", size)), "h": quoted(repeat("1h", size/2)), "u": quoted(repeat("é", size/2)), "space": quoted(repeat(" ", size) + "x" + repeat(" ", 1000)), "q": quoted(repeat(`\u0007`, size/6)),
	}
	var members []string
	for name, v := range values {
		members = append(members, `"`+name+`":`+v)
	}
	return "{" + strings.Join(members, ",") + "}"
}

// slowCall only forgets: what a rule emits may be large.
type slowCall struct{ nullCall }

func (c *slowCall) MemberCount(hub.Address) int  { return 0 }
func (c *slowCall) Members(hub.Address) []string { return nil }
func (c *slowCall) Online() []string             { return nil }
func (c *slowCall) IsOnline(string) bool         { return false }

func TestFunctionsAreLinear(t *testing.T) {
	for _, name := range rules.Functions() {
		if len(adversarial[name]) == 0 {
			t.Errorf("no adversarial case for %s", name)
		}
	}
	// Together 64 KB in one to three places.
	sizes := []string{hostileArgs(60 << 10), hostileArgs(30 << 10), hostileArgs(20 << 10)}
	for name, exprs := range adversarial {
		for _, expr := range exprs {
			set, err := compileError("on test {\nack `"+expr+"`\n}", rules.Options{})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			read := false
			for _, args := range sizes {
				took, r := quickest(testenv.Slowdown*20*time.Millisecond, set, args)
				if took > testenv.Slowdown*20*time.Millisecond {
					t.Errorf("%s: %s takes %v", name, expr, took)
				}
				read = read || r == nil || !strings.Contains(r.Cause.Error(), "reads too much")
			}
			if !read {
				t.Errorf("%s: %s was never evaluated", name, expr)
			}
		}
	}
}

// quickest is the shortest time of an event, and how it was refused.
func quickest(bound time.Duration, set *rules.Set, args string) (best time.Duration, r *hub.Refusal) {
	best = shortest(bound, func() {
		c := &slowCall{nullCall{fakeCall: *newCall("test", args)}}
		set.Event(c)
		r = c.refused
	})
	return best, r
}

// shortest is the shortest of several runs: other work on the machine is not
// ours. One within the bound is enough; what is not linear never is.
func shortest(bound time.Duration, f func()) (best time.Duration) {
	best = time.Hour
	for range 30 {
		start := time.Now()
		f()
		if best = min(best, time.Since(start)); best <= bound {
			break
		}
	}
	return best
}

// TestHostileArgumentsEndQuickly gives rules what they do not expect; each must end, refused or
// not, in a moment.
func TestHostileArgumentsEndQuickly(t *testing.T) {
	set := compile(t, "on test {\nif `has(data.a)` {\nset x data.a\n}\nemit x `merge(data, {\"a\": data})` args... to \"r\"\nack `data.a == data.b || size(data) > 3 || data.a > 1`\njoin data.a\n}", rules.Options{})
	deep := func(open, end string, n int) string { return repeat(open, n) + `1` + repeat(end, n) }
	for _, args := range []string{
		deep("[", "]", 128), deep(`{"a":`, "}", 128), `{"a":` + deep("[", "]", 100) + `}`,
		`{"__proto__":{"a":1},"constructor":1}`, `{"a":1e999999,"b":1e-999999}`, `{"a":` + repeat("9", 5000) + `}`,
		`{"a":1,"a":2}`, `{"\u0061":1,"a":2}`, `{"":"","\u0000":1}`, `{"a":"\ud800"}`, `[` + repeat("{},", 20000) + `{}]`,
		`{"_placeholder":true,"num":0}`, `{"_placeholder":true,"num":-1}`, `{"_placeholder":true,"num":99999999999999999999}`,
		`{` + strings.TrimSuffix(repeat(`"k":1,`, 10000), ",") + `}`, repeat("1,", 20000) + "1",
	} {
		for _, bins := range [][][]byte{nil, {[]byte("x")}} {
			took := shortest(testenv.Slowdown*100*time.Millisecond, func() {
				c := newCall("test", args)
				c.args.Bin = bins
				c.run(t, set)
			})
			if took > testenv.Slowdown*100*time.Millisecond {
				t.Errorf("%s takes %v", short(args), took)
			}
		}
	}
}

func TestStringsAreBounded(t *testing.T) {
	for _, expr := range []string{
		`data + data + data + data + data`, `data.replace("a", "aaaaaaaaaa")`, `[data, data, data, data, data].join()`,
		`"%s%s%s%s%s".format([data, data, data, data, data])`, `data.split("").map(x, data)`, `data.split("").map(x, data + x)`,
	} {
		set := compile(t, "on test {\nack `"+expr+"`\n}", rules.Options{})
		if got, want := newCall("test", `"`+repeat("a", 60000)+`"`).run(t, set), `refused TOO_LARGE: Arguments too large`; got != want {
			t.Errorf("%s: %s", expr, short(got))
		}
	}
}

// TestReplacedFunctionsDoAsCELDocuments compares ours with the results that CEL documents.
func TestReplacedFunctionsDoAsCELDocuments(t *testing.T) {
	for expr, want := range map[string]string{
		`"hello mellow".indexOf("")`: "0", `"hello mellow".indexOf("ello")`: "1", `"hello mellow".indexOf("jello")`: "-1",
		`"hello mellow".indexOf("", 2)`: "2", `"hello mellow".indexOf("ello", 2)`: "7", `"hello mellow".indexOf("ello", 20)`: "-1",
		`"ta©o©αT".indexOf("©")`: "2", `"ta©o©αT".indexOf("©", 3)`: "4", `"ta©o©αT".indexOf("©αT", 3)`: "4", `"".indexOf("x")`: "-1", `"ab".indexOf("", 9)`: "2",
		`"hello mellow".lastIndexOf("")`: "12", `"hello mellow".lastIndexOf("ello")`: "7", `"hello mellow".lastIndexOf("jello")`: "-1",
		`"hello mellow".lastIndexOf("ello", 6)`: "1", `"ta©o©αT".lastIndexOf("©")`: "4", `"ta©o©αT".lastIndexOf("©", 3)`: "2", `"ab".lastIndexOf("b", 20)`: "-1",
		`"".lastIndexOf("x")`: "-1", `"".lastIndexOf("")`: "0", `"aaa".lastIndexOf("aa", 0)`: "0",
		`"hello hello".replace("he", "we")`: `"wello wello"`, `"hello hello".replace("he", "we", -1)`: `"wello wello"`,
		`"hello hello".replace("he", "we", 1)`: `"wello hello"`, `"hello hello".replace("he", "we", 0)`: `"hello hello"`, `"hello hello".replace("", "_")`: `"_h_e_l_l_o_ _h_e_l_l_o_"`,
		`["hello", "mellow"].join()`: `"hellomellow"`, `["hello", "mellow"].join(" ")`: `"hello mellow"`, `[].join("/")`: `""`,
	} {
		set := compile(t, "on test {\nack `"+expr+"`\n}", rules.Options{})
		if got := newCall("test", ``).run(t, set); got != "ack "+want {
			t.Errorf("%s: %s, want %s", expr, got, want)
		}
	}
	for _, expr := range []string{`"a".indexOf("a", -1)`, `"a".lastIndexOf("a", -1)`, `data.indexOf("x")`, `data.replace("a", "b")`, `data.join()`, `[data].join()`} {
		set := compile(t, "on test {\nack `"+expr+"`\n}", rules.Options{})
		if got := newCall("test", `1`).run(t, set); got != `refused INVALID: Invalid arguments` {
			t.Errorf("%s: %s", expr, got)
		}
	}
}

func TestSelectionAllocatesNothing(t *testing.T) {
	for _, steps := range []string{"ack data", "ack data.clientId", "ack args...", "require `type(data.text) == string && data.text != \"\"` \"Text\"\nack data"} {
		set := compile(t, "on test {\n"+steps+"\n}", rules.Options{})
		c := &nullCall{fakeCall: *newCall("test", message)}
		if n := testing.AllocsPerRun(1000, func() { set.Event(c) }); n > 0 {
			t.Errorf("%s: %v allocations", steps, n)
		}
		if c.refused != nil || c.acks == 0 {
			t.Errorf("%s: %v", steps, c.refused)
		}
	}
}

// What many events get costs nothing: a flood of them is the client's.
func TestPlainRefusalAllocatesNothing(t *testing.T) {
	for _, steps := range []string{"require `data.text == \"\"` \"No\" FORBIDDEN", "require false", "rate 1/s"} {
		set := compile(t, "on test {\n"+steps+"\n}", rules.Options{})
		c := &nullCall{fakeCall: *newCall("test", message)}
		c.limit = true
		if n := testing.AllocsPerRun(1000, func() { set.Event(c) }); n > 0 {
			t.Errorf("%s: %v allocations", steps, n)
		}
		if c.refused == nil || c.refused.Rule != "Caddyfile:2" {
			t.Errorf("%s: %+v", steps, c.refused)
		}
	}
}
