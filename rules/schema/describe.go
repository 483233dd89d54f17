package schema

import (
	"encoding/json"
	"math/big"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddy-realtime/realtime/internal/rawjson"
)

// What schemas ask for, in the words of a client's developer.

// demand is a keyword of a schema whose message names the keyword's value.
type demand uint8

const (
	noDemand demand = iota
	typeDemand
	constDemand
	enumDemand
	minLengthDemand
	maxLengthDemand
	minimumDemand
	maximumDemand
	aboveDemand // exclusiveMinimum
	belowDemand // exclusiveMaximum
	multipleDemand
	minItemsDemand
	maxItemsDemand
	minFieldsDemand
	maxFieldsDemand
)

// text says what a value must be to meet the demand of s.
func (d demand) text(s *jsonschema.Schema) string {
	switch d {
	case typeDemand:
		return "must be " + typeNamesOf(*s.Types)
	case constDemand:
		return oneOfText([]any{*s.Const})
	case enumDemand:
		return oneOfText(s.Enum.Values)
	case minLengthDemand:
		return "must have at least " + count(*s.MinLength, "character")
	case maxLengthDemand:
		return "must have at most " + count(*s.MaxLength, "character")
	case minimumDemand:
		return "must be at least " + decimal(s.Minimum)
	case maximumDemand:
		return "must be at most " + decimal(s.Maximum)
	case aboveDemand:
		return "must be more than " + decimal(s.ExclusiveMinimum)
	case belowDemand:
		return "must be less than " + decimal(s.ExclusiveMaximum)
	case multipleDemand:
		return "must be a multiple of " + decimal(s.MultipleOf)
	case minItemsDemand:
		return "must have at least " + count(*s.MinItems, "item")
	case maxItemsDemand:
		return "must have at most " + count(*s.MaxItems, "item")
	case minFieldsDemand:
		return "must have at least " + count(*s.MinProperties, "field")
	case maxFieldsDemand:
		return "must have at most " + count(*s.MaxProperties, "field")
	}
	return ""
}

// schemaTypes are JSON Schema's types and what they are called.
var schemaTypes = []struct {
	bit   jsonschema.Types
	title string
}{
	{typeBit("null"), "null"},
	{typeBit("boolean"), "a boolean"},
	{typeBit("number"), "a number"},
	{typeBit("integer"), "a whole number"},
	{typeBit("string"), "a string"},
	{typeBit("array"), "a list"},
	{typeBit("object"), "an object"},
}

func typeBit(name string) (t jsonschema.Types) {
	t.Add(name)
	return t
}

var (
	kindBits = map[rawjson.Kind]jsonschema.Types{
		rawjson.KindNull:   typeBit("null"),
		rawjson.KindBool:   typeBit("boolean"),
		rawjson.KindNumber: typeBit("number"),
		rawjson.KindString: typeBit("string"),
		rawjson.KindArray:  typeBit("array"),
		rawjson.KindObject: typeBit("object"),
	}
	integerBit = typeBit("integer")
)

func hasType(types jsonschema.Types, n *instance) bool {
	return types&kindBits[n.kind] != 0 || types&integerBit != 0 && n.kind == rawjson.KindNumber && n.isInteger()
}

func typeNamesOf(types jsonschema.Types) string {
	var titles []string
	for _, t := range schemaTypes {
		if types&t.bit != 0 {
			titles = append(titles, t.title)
		}
	}
	return strings.Join(titles, " or ")
}

// oneOfText lists the values of an enum, if they are short.
func oneOfText(values []any) string {
	var text strings.Builder
	text.WriteString("must be ")
	if len(values) > 1 {
		text.WriteString("one of ")
	}
	for i, v := range values {
		if i > 0 {
			text.WriteString(", ")
		}
		literal, err := json.Marshal(v)
		if err != nil || text.Len()+len(literal) > maxLiterals {
			return "is none of the allowed values"
		}
		text.Write(literal)
	}
	return text.String()
}

// count is "1 item" or "2 items".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// decimal is a bound as the schema's author would write it.
func decimal(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}
