package budget

import (
	"fmt"
	"testing"
	"time"
)

func TestNoticesComeOnceAnHour(t *testing.T) {
	var n Notices
	for _, tc := range []struct {
		cause string
		now   time.Duration
		want  bool
	}{
		{"a", 0, true},
		{"a", time.Minute, false},
		{"b", time.Minute, true},
		{"a", time.Hour - 1, false},
		{"a", time.Hour, true},
		{"b", time.Hour, false},
		{"b", time.Hour + time.Minute, true},
	} {
		if got := n.Due(tc.cause, tc.now); got != tc.want {
			t.Errorf("%s after %v: %v", tc.cause, tc.now, got)
		}
	}
}

func TestNoticesOfManyCausesAreFew(t *testing.T) {
	var n Notices
	due := 0
	for i := range 10_000 {
		if n.Due(fmt.Sprint(i), time.Duration(i)*time.Millisecond) {
			due++
		}
	}
	if due != maxNotices {
		t.Errorf("%d notices in 10 s, want %d", due, maxNotices)
	}
	if !n.Due("later", 2*time.Hour) {
		t.Error("none is due any more")
	}
	if len(n.last) != 1 {
		t.Errorf("%d causes are kept", len(n.last))
	}
}
