package parser

import "testing"

func TestAttachmentNeedsAPlaceholderOfOneOfThem(t *testing.T) {
	bins := [][]byte{[]byte("a"), []byte("b")}
	for raw, want := range map[string]string{
		`{"_placeholder":true,"num":0}`:        "a",
		`{"num":1,"x":[],"_placeholder":true}`: "b",
		`{"_placeh\u006flder":true,"num":1}`:   "b",
		`{"_placeholder":true,"num":2}`:        "",
		`{"_placeholder":true,"num":-1}`:       "",
		`{"_placeholder":true,"num":0.5}`:      "",
		`{"_placeholder":true}`:                "",
		`{"_placeholder":false,"num":0}`:       "",
		`{"num":0}`:                            "",
		`{"in":{"_placeholder":true,"num":0}}`: "",
	} {
		got, ok := Attachment([]byte(raw), bins)
		if string(got) != want || ok != (want != "") {
			t.Errorf("%s: %q %v, want %q", raw, got, ok, want)
		}
		if _, ok := Attachment([]byte(raw), nil); ok {
			t.Errorf("%s: stands for one of none", raw)
		}
	}
}
