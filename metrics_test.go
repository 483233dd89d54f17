package realtime

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
)

const metricsSecret = "a secret of at least thirty-two bytes"

// Labels come from fixed lists and the configuration: whatever names clients
// make up, and however many users there are, the series are the same.
func TestMetricsDoNotGrow(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, `metrics /metrics
	realtime {
		limits {
			events off
		}
		auth jwt {
			secret "`+metricsSecret+`"
		}
		on known {
			require false No
		}
	}`)))
	series := func(closed int) (names []string, body string) {
		told := fmt.Sprintf(`caddy_realtime_sessions_closed_total{hub="",reason="transport close"} %d`, closed)
		for end := time.Now().Add(10 * time.Second); !strings.Contains(body, told); {
			if time.Now().After(end) {
				t.Fatalf("no %s", told)
			}
			_, _, body = get(t, port, "/metrics")
		}
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, "caddy_realtime_") {
				names = append(names, line[:strings.LastIndexByte(line, ' ')])
			}
		}
		return names, body
	}
	attack := func(users, events int) {
		t.Helper()
		for i := range users {
			token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
				"sub": fmt.Sprint("user", i), "exp": time.Now().Add(time.Hour).Unix(),
			}).SignedString([]byte(metricsSecret))
			if err != nil {
				t.Fatal(err)
			}
			c := dialWebSocket(t, port, http.Header{"Authorization": {"Bearer " + token}})
			join(t, c, "")
			for j := range events {
				if err := c.send(fmt.Sprintf(`42%d["name%d-%d"]`, j, i, j)); err != nil {
					t.Fatal(err)
				}
			}
			for j := range events {
				expect(t, c, fmt.Sprintf("43%d[", j))
			}
			if got, err := call(c, "known"); err != nil || !strings.Contains(got, "INVALID") {
				t.Fatal(got, err)
			}
			c.conn.Close()
		}
	}
	attack(1, 1)
	before, _ := series(1)
	attack(200, 50)
	after, body := series(201)
	if len(after) != len(before) {
		t.Errorf("%d series, before %d", len(after), len(before))
	}
	for _, want := range []string{
		`caddy_realtime_events_refused_total{code="UNKNOWN_EVENT",event="other",hub=""} 10001`,
		`caddy_realtime_events_refused_total{code="INVALID",event="known",hub=""} 201`,
		`caddy_realtime_handshakes_total{hub="",result="accepted"} 201`,
		`caddy_realtime_budget_exhausted_total{hub="",kind="fanout"} 0`,
		`caddy_realtime_memory_held_bytes{use="input"} 0`,
		`caddy_realtime_namespaces{hub=""} 1`,
		`caddy_realtime_generations{hub=""} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestEveryMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile("docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan *prometheus.Desc, 100)
	processMetrics.Describe(all)
	close(all)
	name := regexp.MustCompile(`"caddy_realtime_(\w+)"`)
	for d := range all {
		if m := name.FindStringSubmatch(d.String()); m == nil || !strings.Contains(string(page), "`"+m[1]+"`") {
			t.Errorf("docs/metrics.md has no %s", d)
		}
	}
}
