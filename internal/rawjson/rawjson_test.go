package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckSaysWhatIsWrongAndWhere(t *testing.T) {
	valid := []string{
		`null`, `true`, `false`, `0`, `-0`, `-1.5e+10`, `1E-2`, `0.0`, `""`, `"a"`, `[]`, `{}`, ` [ ] `, "\t\r\n{\n}\n",
		`[1,2,3]`, `[[],{},[[]]]`, `{"a":1,"b":[{"c":null}]}`, `{"a":{"b":{}}, "a":2}`, `"é €😀"`, `"\ud800"`, `"\udc00\ud800"`,
		`"\"\\\/\b\f\n\r\tA"`, "\"\u2028\u007f\"", `{"" : [ 1 , 2 ] }`, `"12345678\"1234567\\"`,
		`[{"a":1},[2,3]]`, `[{"a":1},[2],{"a":3}]`, `{"a":[1],"b":{"c":2}}`,
	}
	for _, s := range valid {
		if err := Check([]byte(s), 8); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	invalid := []struct {
		in, what string
		offset   int
	}{
		{``, errEnd, 0}, {` `, errEnd, 1}, {`[`, errEnd, 1}, {`{`, errEnd, 1}, {`[1`, errEnd, 2}, {`[1,`, errEnd, 3}, {`{"a"`, errEnd, 4},
		{`{"a":`, errEnd, 5}, {`{"a":1`, errEnd, 6}, {`{"a":1,`, errEnd, 7}, {`"abc`, errEnd, 4}, {`"12345678`, errEnd, 9},
		{`[1,]`, errValue, 3}, {`[,1]`, errValue, 1}, {`tru`, errValue, 0}, {`truE`, errValue, 0}, {`nulls`, errAfter, 4}, {`'a'`, errValue, 0},
		{`NaN`, errValue, 0}, {`+1`, errValue, 0}, {`.5`, errValue, 0}, {`01`, errNumber, 0}, {`-`, errNumber, 1}, {`-01`, errNumber, 1},
		{`1.`, errNumber, 2}, {`1.e1`, errNumber, 2}, {`1e`, errNumber, 2}, {`1e+`, errNumber, 3}, {`1 2`, errAfter, 2}, {`[]]`, errAfter, 2},
		{`[}`, errValue, 1}, {`{]`, errKey, 1}, {`[1}`, errNext, 2}, {`{"a":1]`, errNext, 6}, {`{"a" 1}`, errColon, 5}, {`{"a":1,}`, errKey, 7},
		{`{1:2}`, errKey, 1}, {`[1 2]`, errNext, 3}, {`"\x"`, errEscape, 1}, {`"\u12g4"`, errEscape, 1}, {`"\u12`, errEscape, 1}, {`"\`, errEscape, 1}, {`"\n`, errEnd, 3},
		{"\"a\nb\"", errControl, 2}, {"\"\x00\"", errControl, 1}, {"\"\x1f\"", errControl, 1}, {"\"\xff\"", errUTF8, 1}, {"\"\xc0\x80\"", errUTF8, 1},
		{"\"\xed\xa0\x80\"", errUTF8, 1}, {"\"123456789\xe2\x82\"", errUTF8, 10}, {"\xef\xbb\xbf1", errValue, 0}, {"[\"\xff\"]", errUTF8, 2},
		{`[[[[[[[[[`, errDepth, 8}, {`{"a":[[[[[[[[]]]]]]]]}`, errDepth, 12}, {"\v1", errValue, 0}, {"1\x00", errAfter, 1},
		{`[tru`, errValue, 1}, {`[{"a":1},[2}]`, errNext, 11}, {`[[1],{"a":2]]`, errNext, 11},
	}
	for _, c := range invalid {
		var e *SyntaxError
		if err := Check(slices.Clip([]byte(c.in)), 8); !errors.As(err, &e) || e.What != c.what || e.Offset != c.offset {
			t.Errorf("%q: got %v, want %s at offset %d", c.in, err, c.what, c.offset)
		}
	}
}

// All texts of a few symbols, and what encoding/json makes of them.
func TestShortTextsAreJudgedAsByEncodingJSON(t *testing.T) {
	symbols := []string{`[`, `]`, `{`, `}`, `"`, `,`, `:`, `\`, `u`, `1`, `0`, `-`, `.`, `e`, ` `, `"a":`, `null`}
	var judge func(text []byte, more int)
	judge = func(text []byte, more int) {
		if want := json.Valid(text); want != (Check(text, 8) == nil) {
			t.Errorf("%s: %v, want valid %v", text, Check(text, 8), want)
		}
		if more == 0 {
			return
		}
		for _, symbol := range symbols {
			judge(slices.Concat(text, []byte(symbol)), more-1)
		}
	}
	judge(nil, 4)
}

// Strings are read eight bytes at a time, and the rest byte by byte.
func TestNoByteOfALongStringEscapesTheCheck(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for c := range 0x100 {
				text := []byte(`"` + strings.Repeat("A", length) + `"`)
				text[1+at] = byte(c)
				want := json.Valid(text) && utf8.Valid(text)
				if err := Check(text, 0); want != (err == nil) {
					t.Errorf("%q: %v, want valid %v", text, err, want)
				}
			}
		}
	}
}

func TestCheckBoundsTheDepth(t *testing.T) {
	for _, depth := range []int{0, 1, 63, 64, 65, 128, MaxDepth} {
		in := []byte(strings.Repeat(`[`, depth) + strings.Repeat(`]`, depth))
		if depth == 0 {
			in = []byte(`1`)
		}
		if err := Check(in, depth); err != nil {
			t.Errorf("depth %d: %v", depth, err)
		}
		if err := Check(append([]byte(`[`), append(in, ']')...), depth); err == nil {
			t.Errorf("depth %d passes %d", depth+1, depth)
		}
	}
	for _, mixed := range []string{
		strings.Repeat(`[{"a":`, 60) + `1` + strings.Repeat(`}]`, 60),
		strings.Repeat(`[{"a":1},`, 120) + `1` + strings.Repeat(`]`, 120), // at each depth a brace, then a bracket
	} {
		if err := Check([]byte(mixed), 121); err != nil {
			t.Error(err)
		}
	}
	if err := Check(bytes.Repeat([]byte(`[`), 1<<20), math.MaxInt); err == nil {
		t.Error("no limit at all")
	}
}

func TestCheckArrayCountsElements(t *testing.T) {
	for in, want := range map[string]int{`[]`: 0, ` [ ] `: 0, `[1]`: 1, `[[1,2],{"a":1,"b":2},"c,d"]`: 3} {
		if n, err := CheckArray([]byte(in), 8); n != want || err != nil {
			t.Errorf("%s: %d, %v", in, n, err)
		}
	}
	for _, in := range []string{``, `{}`, `"a"`, `1`, `[`, `[1,]`} {
		if _, err := CheckArray([]byte(in), 8); err == nil {
			t.Errorf("%s accepted", in)
		}
	}
}

func values(it ArrayIter) (all []string) {
	for it.Next() {
		all = append(all, string(it.Value()))
	}
	return all
}

func TestListsAreWalkedInOrder(t *testing.T) {
	const list = ` 1 , "a,]\"" ,[ 2, [3]], {"k" : "}"},null`
	want := []string{`1`, `"a,]\""`, `[ 2, [3]]`, `{"k" : "}"}`, `null`}
	if got := values(List([]byte(list))); !reflect.DeepEqual(got, want) {
		t.Errorf("list: %q", got)
	}
	if got := values(Array([]byte(" [" + list + "] "))); !reflect.DeepEqual(got, want) {
		t.Errorf("array: %q", got)
	}
	for _, none := range []string{``, ` `, `[]`, `[ ]`, `{"a":1}`, `1`, `"[1]"`, `null`} {
		if got := values(Array([]byte(none))); got != nil {
			t.Errorf("%s has %q", none, got)
		}
	}
	for i, w := range want {
		if v, ok := Index([]byte(list), i); !ok || string(v) != w {
			t.Errorf("index %d: %s", i, v)
		}
		if v, ok := IndexArray([]byte("["+list+"]"), i); !ok || string(v) != w {
			t.Errorf("index %d: %s", i, v)
		}
	}
	for _, i := range []int{-1, 5} {
		if v, ok := Index([]byte(list), i); ok {
			t.Errorf("index %d: %s", i, v)
		}
	}
	it := List([]byte(`"name" , 1, 2 `))
	if it.Next(); string(it.Rest()) != `1, 2` {
		t.Errorf("rest %q", it.Rest())
	}
	if it = List([]byte(`1`)); !it.Next() || len(it.Rest()) != 0 {
		t.Errorf("rest %q", it.Rest())
	}
}

func TestObjectsAreWalkedInOrder(t *testing.T) {
	var got []string
	for it := Object([]byte(` { "a" : 1 , "b\"":{"c":[2]},"":"x" } `)); it.Next(); {
		got = append(got, string(it.Key())+"="+string(it.Value()))
	}
	if want := []string{`"a"=1`, `"b\""={"c":[2]}`, `""="x"`}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	for _, none := range []string{`{}`, `{ }`, `[1]`, `1`, ``} {
		if it := Object([]byte(none)); it.Next() {
			t.Errorf("%s has a member", none)
		}
	}
}

func TestFieldRefusesDuplicateKeys(t *testing.T) {
	cases := []struct {
		obj, key, value string
		found           bool
		err             error
	}{
		{`{"a":1, "b": [2] }`, "b", `[2]`, true, nil},
		{`{"a":1}`, "c", ``, false, nil},
		{`{"\u0061":1}`, "a", `1`, true, nil},
		{`[1]`, "a", ``, false, nil},
		{`{"a":1,"\u0061":2}`, "b", ``, false, ErrDuplicate},
		{`{"a":1,"b":2,"b":3}`, "a", ``, false, ErrDuplicate},
		{`{"a":{"b":1,"b":2}}`, "a", `{"b":1,"b":2}`, true, nil},
		{`{"__proto__":1,"__proto__":1}`, "x", ``, false, ErrDuplicate},
		{`{"":1}`, "", `1`, true, nil},
	}
	for _, c := range cases {
		v, found, err := Field([]byte(c.obj), c.key)
		if string(v) != c.value || found != c.found || err != c.err {
			t.Errorf("%s %s: %s %v %v", c.obj, c.key, v, found, err)
		}
		if err := CheckKeys([]byte(c.obj)); err != c.err {
			t.Errorf("%s: %v", c.obj, err)
		}
	}
}

// manyKeys is an object with n distinct keys, and last as one more.
func manyKeys(n int, last string) []byte {
	b := []byte{'{'}
	for i := range n {
		b = fmt.Appendf(b, `"%x":0,`, i)
	}
	return append(append(b, last...), ":1}"...)
}

func TestDuplicateAmongManyKeys(t *testing.T) {
	for n := 14; n < 20; n++ {
		if err := CheckKeys(manyKeys(n, `"\u0030"`)); err != ErrDuplicate {
			t.Errorf("%d keys: %v", n, err)
		}
		if err := CheckKeys(manyKeys(n, `"x"`)); err != nil {
			t.Errorf("%d keys: %v", n, err)
		}
	}
	obj := manyKeys(100_000, `"x"`) // each compared with each other, they would take a minute
	if v, found, err := Field(obj, "x"); !found || string(v) != "1" || err != nil {
		t.Error("key x not found", err)
	}
}

func TestKindOfEachValue(t *testing.T) {
	for in, want := range map[string]Kind{`null`: KindNull, `true`: KindBool, `false`: KindBool, `-1`: KindNumber, `0`: KindNumber, `""`: KindString, `[1]`: KindArray, ` {}`: KindObject} {
		if got := KindOf([]byte(in)); got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func TestQuoteEscapesOnlyWhatItMust(t *testing.T) {
	for in, want := range map[string]string{
		"":                            `""`,
		"plain <b>&\u2028":            "\"plain <b>&\u2028\"",
		"\"\\/\b\f\n\r\t\x00\x1f\x7f": `"\"\\/\b\f\n\r\t\u0000\u001f` + "\x7f\"",
		"é\xff€\xe2\x82":              "\"é\ufffd€\ufffd\ufffd\"",
		"\ufffd😀":                     "\"\ufffd😀\"",
		"a\x80b":                      "\"a\ufffdb\"",
	} {
		if got := string(AppendQuote(nil, in)); got != want {
			t.Errorf("%q: %s", in, got)
		}
		if got := string(AppendQuote([]byte("x"), []byte(in))); got != "x"+want {
			t.Errorf("%q: %s", in, got)
		}
	}
}

func TestUnquoteAndEqualStringAgree(t *testing.T) {
	for in, want := range map[string]string{
		`""`: "", `"abc"`: "abc", `"\u0061\n\"\\\/"`: "a\n\"\\/", `"😀"`: "😀", `"\ud800"`: "\ufffd", `"\ud800\ud800x"`: "\ufffd\ufffdx",
		`"\udc00\ud83d\ude00"`: "\ufffd😀", `"\ud800\n"`: "\ufffd\n", `"é\u20AC"`: "é€",
	} {
		if got := string(Unquote([]byte("x"), []byte(in))); got != "x"+want {
			t.Errorf("%s: %q", in, got)
		}
		if got := String([]byte(in)); got != want {
			t.Errorf("%s: %q", in, got)
		}
		if !EqualString([]byte(in), want) || EqualString([]byte(in), want+"x") || EqualString([]byte(in), "x"+want) || want != "" && EqualString([]byte(in), want[1:]) {
			t.Errorf("%s: EqualString", in)
		}
	}
}

func TestIntegersThatFitInt64(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "-0": 0, "-1": -1, "9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64} {
		if n, ok := IsInt([]byte(in)); !ok || n != want {
			t.Errorf("%s: %d %v", in, n, ok)
		}
	}
	for _, in := range []string{"", "-", "1.0", "1e3", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "99999999999999999999"} {
		if n, ok := IsInt([]byte(in)); ok {
			t.Errorf("%s: %d", in, n)
		}
	}
	if f, ok := Float([]byte("1.5e2")); !ok || f != 150 {
		t.Error(f, ok)
	}
	if f, ok := Float([]byte("1e999999")); ok {
		t.Error(f)
	}
}

func TestNumberIsBounded(t *testing.T) {
	for in, want := range map[string]struct {
		i     int64
		f     float64
		isInt bool
	}{
		"7": {7, 0, true}, "-7": {-7, 0, true}, "1.5": {0, 1.5, false}, "1.0": {0, 1, false}, "2E2": {0, 200, false},
		"1e-400": {0, 0, false}, "0e400": {0, 0, false}, "1e+308": {0, 1e308, false}, "12345678901234567890": {0, 12345678901234567890, false},
		"0." + strings.Repeat("5", 30): {0, 0.555555555555555555555555555555, false},
	} {
		i, f, isInt, ok := Number([]byte(in))
		if !ok || i != want.i || f != want.f || isInt != want.isInt {
			t.Errorf("%s: %d %v %v %v", in, i, f, isInt, ok)
		}
	}
	for _, in := range []string{"1e401", "1e-401", "1e309", "1e99999999999999999999", "0." + strings.Repeat("5", 31)} {
		if i, f, isInt, ok := Number([]byte(in)); ok {
			t.Errorf("%s: %d %v %v", in, i, f, isInt)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a":[1,2,{"b":null}],"c":"\ud83d\ude00é"}`, `[1,]`, "\"\xff\"", `-0.1e+5`, `[[[[]]]]`, `{"a":1,"a":2}`, `"\u0061bcdefgh\\"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := Check(b, MaxDepth)
		if want := json.Valid(b) && utf8.Valid(b); want != (err == nil) && depth(b) <= MaxDepth {
			t.Fatalf("%q: %v, want valid %v", b, err, want)
		}
		if err == nil {
			compare(t, b)
		}
		walkAll(b) // whatever it is, nothing may panic
	})
}

func depth(b []byte) int {
	return bytes.Count(b, []byte("[")) + bytes.Count(b, []byte("{"))
}

// compare walks the value b beside what encoding/json makes of it.
func compare(t *testing.T, b []byte) {
	b = Trim(b)
	if End(b, 0) != len(b) {
		t.Fatalf("%q ends at %d", b, End(b, 0))
	}
	switch KindOf(b) {
	case KindArray:
		var want []json.RawMessage
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		got := values(Array(b))
		if n, err := CheckArray(b, MaxDepth); n != len(got) || err != nil {
			t.Fatalf("%q has %d elements, CheckArray says %d, %v", b, len(got), n, err)
		}
		for i := range want {
			if got[i] != string(want[i]) {
				t.Fatalf("%q element %d: %q", b, i, got[i])
			}
			compare(t, want[i])
		}
	case KindObject:
		want := map[string]json.RawMessage{}
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		got, n := map[string]string{}, 0
		for it := Object(b); it.Next(); n++ {
			got[String(it.Key())] = string(it.Value())
			compare(t, it.Value())
		}
		if (CheckKeys(b) != nil) != (n > len(want)) {
			t.Fatalf("%q: %v", b, CheckKeys(b))
		}
		for k, v := range want {
			if got[k] != string(v) {
				t.Fatalf("%q key %q: %q", b, k, got[k])
			}
		}
	case KindString:
		var want string
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		if got := String(b); got != want || !EqualString(b, want) {
			t.Fatalf("%q: %q, want %q", b, got, want)
		}
		if got := String(AppendQuote(nil, want)); got != want {
			t.Fatalf("%q quoted and unquoted: %q", want, got)
		}
	case KindNumber:
		var want float64
		if err := json.Unmarshal(b, &want); err != nil {
			want = math.Inf(1)
		}
		if got, ok := Float(b); ok != !math.IsInf(want, 0) || ok && got != want {
			t.Fatalf("%q: %v %v", b, got, ok)
		}
		var whole int64
		if n, ok := IsInt(b); ok != (json.Unmarshal(b, &whole) == nil) || ok && n != whole {
			t.Fatalf("%q: %v %v", b, n, ok)
		}
	}
}

func walkAll(b []byte) {
	for it := List(b); it.Next(); {
		String(it.Value())
		EqualString(it.Value(), "x")
	}
	for it := Array(b); it.Next(); {
		Float(it.Value())
	}
	_ = CheckKeys(b)
	Unquote(nil, AppendQuote(nil, b))
}

func TestWalkingDoesNotAllocate(t *testing.T) {
	obj := []byte(`{"roomId":"general","te\u0078t":"hello","n":[1,2,{"deep":true}]}`)
	dst := make([]byte, 0, 256)
	allocs := testing.AllocsPerRun(100, func() {
		if Check(obj, 128) != nil {
			t.Error("invalid")
		}
		v, _, err := Field(obj, "n")
		if err != nil || !EqualString([]byte(`"te\u0078t"`), "text") {
			t.Error("not found")
		}
		for it := Array(v); it.Next(); {
			IsInt(it.Value())
		}
		dst = AppendQuote(dst[:0], "a<b\n€")
		dst = Unquote(dst[:0], obj[1:9])
	})
	if allocs > 1 { // the unescaped key
		t.Errorf("%v allocations", allocs)
	}
}

var sample = []byte(`["send-message",{"roomId":"general","text":"The quick brown fox jumps over the lazy dog, and then it sleeps.","id":12345,"tags":["a","bb","ccc"],"user":{"name":"Jörg","age":42.5,"active":true,"note":null}}]`)

func BenchmarkCheck(b *testing.B) {
	text := AppendQuote(nil, strings.Repeat("Ein Text von üblicher Länge, so wie man ihn schreibt. ", 20))
	for name, in := range map[string][]byte{"event": sample, "text": text, "numbers": []byte("[" + strings.Repeat("123.25,", 100) + "0]"), "brackets": []byte("[" + strings.Repeat("{},", 1000) + "[]]")} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Check(in, 128); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEnd(b *testing.B) {
	b.SetBytes(int64(len(sample)))
	for b.Loop() {
		End(sample, 0)
	}
}

func BenchmarkField(b *testing.B) {
	obj, _ := IndexArray(sample, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, found, err := Field(obj, "user"); !found || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkManyKeys(b *testing.B) {
	obj := manyKeys(8000, `"x"`)
	b.SetBytes(int64(len(obj)))
	for b.Loop() {
		if err := CheckKeys(obj); err != nil {
			b.Fatal(err)
		}
	}
}
