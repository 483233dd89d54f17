package parser

import "github.com/caddy-realtime/realtime/internal/rawjson"

// Attachment returns the binary value that the JSON object raw stands for, if
// raw is a placeholder for one of bins.
func Attachment(raw []byte, bins [][]byte) (b []byte, ok bool) {
	if len(bins) == 0 {
		return nil, false
	}
	num, marked := int64(-1), false
	for it := rawjson.Object(raw); it.Next(); {
		switch {
		case rawjson.EqualString(it.Key(), mark):
			marked = string(it.Value()) == "true"
		case rawjson.EqualString(it.Key(), "num"):
			if n, ok := rawjson.IsInt(it.Value()); ok {
				num = n
			}
		}
	}
	if !marked || num < 0 || num >= int64(len(bins)) {
		return nil, false
	}
	return bins[num], true
}
