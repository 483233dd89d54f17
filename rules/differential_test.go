package rules_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/internal/testenv"
	"github.com/caddy-realtime/realtime/rules"
)

// The expressions of these tests are made of these operands, and evaluated
// three ways: as they are, where the common forms do without CEL; within a
// list, where CEL sees what is selected; and within a loop over args, where CEL
// walks every value itself.
var operands = []string{
	`data.a`, `data.b`, `data.a.c`, `data["d e"]`, `args[1]`, `args[1][0]`, `data`, `sender`, `now`,
	`null`, `true`, `1`, `-3`, `1.5`, `2.0`, `"x"`, `"é\n"`, `""`, `9223372036854775807`,
}

func conditions() []string {
	var all []string
	for _, a := range operands {
		for _, b := range operands {
			for _, op := range []string{"==", "!=", "<", "<=", ">", ">="} {
				all = append(all, a+" "+op+" "+b)
			}
		}
		for _, typ := range []string{"null_type", "bool", "int", "double", "string", "bytes", "list", "map"} {
			all = append(all, "type("+a+") == "+typ, typ+" != type("+a+")")
		}
	}
	for _, a := range operands[:7] {
		all = append(all, a, "!"+a, "in_room("+a+")", "has(data.a) && "+a, "has(data.a.c) || "+a)
	}
	n := len(all)
	random := rand.New(rand.NewPCG(1, 2))
	for range 150 {
		a, b := all[random.IntN(n)], all[random.IntN(n)]
		all = append(all, fmt.Sprintf("(%s) && (%s)", a, b), fmt.Sprintf("!(%s) || (%s)", a, b))
	}
	return all
}

// usable leaves out what does not pass the type checker, such as 1 < "x".
func usable(all []string) (exprs []string, sets [][3]*rules.Set) {
	for _, e := range all {
		var forms [3]*rules.Set
		ok := true
		// The loop hides data, so that CEL itself selects from it.
		inLoop := "[args].exists(args, [args[0]].exists(data, [" + e + "][0]))"
		for i, form := range []string{e, "[" + e + "][0]", inLoop} {
			set, err := compileError("on test {\nif `"+form+"` {\nack true\n}\n}", rules.Options{})
			forms[i], ok = set, ok && err == nil
		}
		if ok {
			exprs, sets = append(exprs, e), append(sets, forms)
		}
	}
	return exprs, sets
}

// outcome is "true", "false" or "error".
func outcome(t testing.TB, set *rules.Set, args string) string {
	got := newCall("test", args).in("x").run(t, set)
	switch {
	case got == "ack true":
		return "true"
	case got == "":
		return "false"
	case strings.HasPrefix(got, "refused INVALID"):
		return "error"
	}
	t.Fatalf("unexpected %s", got)
	return ""
}

const twice = `{"a":1,"\u0061":2}`

var samples = []string{
	``, `null`, `1`, `"x"`, `[1]`, `{}`, `{"a":1}`, `{"a":1,"b":1.0}`, `{"a":"x","b":"\u0078"},[1]`, `{"a":{"c":null},"d e":true},["x"]`,
	`{"a":{"c":"x"},"b":{"c":"x"}},[[]]`, `{"a":[1,2],"b":[1,2.0]},"é\n"`, `{"a":[1,2],"b":[1,3]},[true]`,
	`{"a":-3,"b":9223372036854775807},9223372036854775808`, twice, `{"a":{"c":1,"c":2},"b":1.5},{"x":1}`,
	`{"a":true,"b":false,"d e":"x"},[2]`, `{"a":1e400},1e5`, `{"a":0.1,"b":1e999999},[0.1]`, `{"a":"\ud800","b":"\ufffd"}`,
	`{"a":12345678901234567890123456789012345}`, `{"a":"","b":null,"d e":[]}`, `{"a":{"x":1,"y":2},"b":{"y":2.0,"x":1}},{"y":2}`,
}

func TestConditionsDecideAsCELDoes(t *testing.T) {
	all := conditions()
	if testenv.Race {
		all = all[:300]
	}
	exprs, sets := usable(all)
	if len(exprs) < len(all)/2 {
		t.Errorf("only %d expressions of %d", len(exprs), len(all))
	}
	for i, e := range exprs {
		for _, args := range samples {
			ours, within := outcome(t, sets[i][0], args), outcome(t, sets[i][1], args)
			if ours != within {
				t.Errorf("%s with %s: %s, CEL says %s", e, args, ours, within)
			}
			if args == "" || args == twice {
				continue // args[0] is not there, or the loop reads it anyway
			}
			if inLoop := outcome(t, sets[i][2], args); ours != inLoop {
				t.Errorf("%s with %s: %s, CEL on its own says %s", e, args, ours, inLoop)
			}
		}
	}
}

func FuzzConditions(f *testing.F) {
	exprs, sets := usable(conditions()[:300])
	for _, s := range samples {
		f.Add(s, uint16(7))
	}
	f.Fuzz(func(t *testing.T, args string, n uint16) {
		if rawjson.Check([]byte("["+args+"]"), 100) != nil || len(args) > 1000 {
			return
		}
		i := int(n) % len(exprs)
		ours, within := outcome(t, sets[i][0], args), outcome(t, sets[i][1], args)
		if ours != within {
			t.Errorf("%s with %s: %s, CEL says %s", exprs[i], args, ours, within)
		}
	})
}
