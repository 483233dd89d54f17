package rawjson

import "strconv"

// A number beyond these takes more time, as a float or as an exact fraction,
// than its length says.
const (
	maxNumber   = 32 // bytes
	maxExponent = 400
)

// Number reads a number: isInt says whether i is its value, as of IsInt, else
// f is. ok is false for a number of more than 32 bytes, with an exponent beyond
// ±400, or too large for a float64.
func Number(num []byte) (i int64, f float64, isInt, ok bool) {
	if len(num) > maxNumber {
		return 0, 0, false, false
	}
	if i, ok := IsInt(num); ok {
		return i, 0, true, true
	}
	if !smallExponent(num) {
		return 0, 0, false, false
	}
	f, ok = Float(num)
	return 0, f, false, ok
}

func smallExponent(num []byte) bool {
	for i, c := range num {
		if c|0x20 == 'e' {
			exp, err := strconv.Atoi(string(num[i+1:]))
			return err == nil && -maxExponent <= exp && exp <= maxExponent
		}
	}
	return true
}
