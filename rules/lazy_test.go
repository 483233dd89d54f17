package rules_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"

	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/rules"
)

// read are expressions that touch JSON in every way that CEL can. They are
// compared with plain CEL on decoded values.
var read = []string{
	`data`, `data.a`, `[data]`, `{"x": data}`, `data.a.b`, `data["a"]`, `data[0]`, `data[1.0]`, `data[data.a]`, `args[0] == data`,
	`size(data)`, `data.size()`, `size(data.a)`, `type(data) == map`, `"a" in data`, `1 in data`, `data in [1, "x", null, {"a": 1}]`, `data.a in data.b`, `"x" in data.b`,
	`data == data`, `data.a == data.b`, `data.a != data.b`, `data == {"a": 1, "b": 1.0}`, `{"a": 1.0} == data`, `[1, 2.0] == data`, `data == [1, "x"]`,
	`data + data`, `data + [1]`, `[1] + data`, `data.a + 1`, `data.a + 1.0`, `data.a + "x"`, `data.a * 2`, `-data.a`, `data.a < data.b`, `data < 2`, `data.a >= "a"`,
	`has(data.a)`, `has(data.a.b)`, `data.map(x, x)`, `data.map(k, data[k])`, `data.filter(x, x != 1)`, `data.all(x, type(x) == int)`, `data.exists(x, x == "x")`,
	`data.exists_one(x, x == 1)`, `data.a.map(x, x.b)`, `data.map(x, size(x))`, `data.filter(k, k != "a").size()`,
	`data.startsWith("x")`, `data.a.contains("x")`, `data.a.upperAscii()`, `data.split("x")`, `data.join("-")`, `data.a.join()`, `string(data)`, `int(data.a)`, `double(data.a)`,
	`dyn(data).a`, `type(dyn(data)) == list`, `data.a ? 1 : 2`, `!data`, `data || true`, `data.a && data.b`, `"%s".format([data])`, `"%d %s".format([data.a, data.b])`,
	`[data, data.a, 1].filter(x, x == data)`, `{"k": data.a}.k`, `data.a == null`, `timestamp(data.a)`, `bytes(data) == b"x"`, `{"x": data} == {"x": data}`, `[[data]] == [[data]]`,
}

type reader struct {
	expr  string
	ours  *rules.Set
	plain cel.Program
}

func readers(t testing.TB) []reader {
	env, err := cel.NewEnv(cel.Variable("data", cel.DynType), cel.Variable("args", cel.ListType(cel.DynType)),
		ext.Strings(), cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true))
	if err != nil {
		t.Fatal(err)
	}
	var all []reader
	for _, expr := range read {
		checked, issues := env.Compile(expr)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		plain, err := env.Program(checked)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, reader{expr, compile(t, "on test {\nack `["+expr+"].map(x, x)[0]`\n}", rules.Options{}), plain})
	}
	return all
}

// decode makes of JSON what CEL would be given if it were decoded: whole
// numbers that fit are ints.
func decode(t testing.TB, text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return numbers(v)
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, ok := rawjson.IsInt([]byte(v)); ok {
			return i
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

// plainValue makes JSON's Go values of CEL's.
func plainValue(v ref.Val) any {
	switch v := v.(type) {
	case types.Null:
		return nil
	case types.Int:
		return float64(v)
	case types.Timestamp:
		return v.Time.UTC().Format("2006-01-02T15:04:05.999999999Z07:00")
	case traits.Mapper:
		m := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			k := it.Next()
			m[string(k.(types.String))] = plainValue(v.Get(k))
		}
		return m
	case traits.Lister:
		l := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			l = append(l, plainValue(it.Next()))
		}
		return l
	}
	switch v := v.Value().(type) {
	case string:
		return strings.ToValidUTF8(v, "\ufffd")
	default:
		return v
	}
}

func (r *reader) check(t *testing.T, data string) {
	t.Helper()
	d := decode(t, data)
	want, _, err := r.plain.Eval(map[string]any{"data": d, "args": []any{d}})
	got := newCall("test", data).run(t, r.ours)
	if err != nil {
		mixes := strings.ContainsAny(r.expr, "+*") && strings.Contains(err.Error(), "no such overload") // not in CEL
		if !strings.HasPrefix(got, "refused ") && !mixes {
			t.Errorf("%s of %s: %s, CEL says %v", r.expr, data, got, err)
		}
		return
	}
	if _, isBytes := want.(types.Bytes); isBytes {
		return
	}
	text, ok := strings.CutPrefix(got, "ack ")
	if !ok {
		t.Errorf("%s of %s: %s, CEL says %v", r.expr, data, got, plainValue(want))
		return
	}
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	if r.ordered() && !reflect.DeepEqual(value, plainValue(want)) {
		t.Errorf("%s of %s: %s, CEL says %v", r.expr, data, text, plainValue(want))
	}
}

// ordered is false for what lists the keys of a map: Go's map has no order.
func (r *reader) ordered() bool {
	return !strings.Contains(r.expr, "map(") && !strings.Contains(r.expr, "filter(") && !strings.Contains(r.expr, "join") && !strings.Contains(r.expr, "format")
}

var readSamples = []string{
	`null`, `true`, `0`, `-1`, `1.5`, `"x"`, `"a\u00e9\n\"\\\ud83d\ude00"`, `[]`, `{}`, `[1,"x",null,[2],{"a":1}]`, `[1,2]`, `[1, 2.0]`, `{"a":1,"b":1.0}`, `{"a":1}`,
	`{"a":"x","b":["x",1]}`, `{"a":{"b":[1,2,{"c":null}]},"b":{"b":[1,2.0,{"c":null}]}}`, `{"a":[{"b":1},{"b":2}]}`, `{"a":true,"b":false}`, `["x","y"]`, `{"a":["x","y"]}`,
	`{"a":9007199254740993,"b":-9223372036854775808}`, `{"a":1e5,"b":1E-3}`, `{"a":"2020-01-02T03:04:05.5Z"}`, `{"":1,"a b":2}`, ` { "a" : [ 1 , 2 ] } `, `{"a":"12","b":""}`,
}

func TestLazyValuesEqualDecodedOnes(t *testing.T) {
	all := readers(t)
	for _, r := range all {
		for _, data := range readSamples {
			r.check(t, data)
		}
	}
}

func FuzzLazy(f *testing.F) {
	all := readers(f)
	for _, s := range readSamples {
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, data string, n uint8) {
		if rawjson.Check([]byte(data), 30) != nil || len(data) > 1000 || extreme(data) {
			return
		}
		all[int(n)%len(all)].check(t, data)
	})
}

// extreme reports what decoding takes otherwise, by intent: keys twice,
// numbers out of range, lone surrogates.
func extreme(data string) bool {
	if strings.Contains(data, `\u`) || strings.ContainsAny(data, "eE") && strings.ContainsAny(data, "0123456789") {
		return true
	}
	d := json.NewDecoder(strings.NewReader(data))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return true
	}
	text, err := json.Marshal(v)
	compact := new(bytes.Buffer)
	if err != nil || json.Compact(compact, []byte(data)) != nil || len(text) < compact.Len() {
		return true // a key was dropped
	}
	digits := 0
	for _, c := range data {
		if c >= '0' && c <= '9' || c == '.' {
			digits++
		} else {
			digits = 0
		}
		if digits > 20 {
			return true
		}
	}
	return false
}
