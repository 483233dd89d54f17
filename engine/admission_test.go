package engine_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

// crossroads serves in fake time; requests say in a header whom they are from.
func crossroads(t *testing.T, c engine.Config) *site {
	s := &site{t: t, host: "mem", echo: newEcho()}
	s.srv = engine.NewServer(s.echo, c)
	n := siotest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.srv.Serve(w, r, engine.Info{RemoteIP: r.Header.Get("From"), Exempt: r.Header.Get("Exempt") != ""})
	}))
	s.dial = n.Dial
	s.client()
	t.Cleanup(func() {
		s.srv.Close()
		s.http.CloseIdleConnections()
	})
	return s
}

// knock opens a polling session from an address, if it may, and returns its
// query.
func (s *site) knock(ip string, header ...string) (query string, ok bool) {
	s.t.Helper()
	a := s.do("GET", polling, "", append(header, "From: "+ip)...)
	switch a.status {
	case 200:
		return polling + "&sid=" + sid(s.t, a.body), true
	case 503:
		if a.header.Get("Retry-After") == "" {
			s.t.Error("503 without Retry-After")
		}
		if !a.last {
			s.t.Error("whoever is refused keeps a connection")
		}
		return "", false
	}
	s.t.Fatalf("%d %q", a.status, a.body)
	return "", false
}

// open opens sessions from addresses until one is refused.
func (s *site) knocks(most int, ip func(i int) string) (opened int) {
	s.t.Helper()
	for opened < most {
		if _, ok := s.knock(ip(opened)); !ok {
			break
		}
		opened++
	}
	return opened
}

func same(ip string) func(int) string { return func(int) string { return ip } }

func (s *site) exhausted(kind string, want uint64) {
	s.t.Helper()
	if st := s.srv.Stats(); st.Exhausted[kind] != want || st.Handshakes["limited"] != want {
		s.t.Errorf("%s exhausted %d times, %d handshakes limited; want %d", kind, st.Exhausted[kind], st.Handshakes["limited"], want)
	}
}

func TestAcceptRateHoldsForAllAddressesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := crossroads(t, engine.Config{Accept: budget.Rate{PerSecond: 10, Burst: 10}})
		other := func(i int) string { return fmt.Sprintf("203.0.113.%d", i) }
		if n := s.knocks(50, other); n != 10 {
			t.Errorf("%d accepted at once", n)
		}
		s.exhausted("accept", 1)
		time.Sleep(500 * time.Millisecond)
		if n := s.knocks(50, other); n != 5 {
			t.Errorf("%d accepted half a second later", n)
		}
		s.exhausted("accept", 2)
		if _, status, _ := s.upgrade("EIO=4&transport=websocket", "From: 198.51.100.1"); status != 503 {
			t.Errorf("WebSocket: %d", status)
		}
		if got := s.srv.Stats().Handshakes["accepted"]; got != 15 {
			t.Errorf("%d handshakes accepted", got)
		}
	})
}

// One address that connects without end leaves the others what is theirs.
func TestConnectRateOfOneAddressLeavesTheOthersTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ten := budget.Rate{PerSecond: 10, Burst: 10}
		s := crossroads(t, engine.Config{ConnectRate: ten, Accept: ten.Times(2)})
		for range 20 {
			s.knock("203.0.113.1")
		}
		s.exhausted("connect_rate", 10)
		if n := s.knocks(10, same("203.0.113.2")); n != 10 {
			t.Errorf("another address: %d accepted", n)
		}
		time.Sleep(time.Second)
		if n := s.knocks(50, same("203.0.113.1")); n != 10 {
			t.Errorf("%d accepted a second later", n)
		}
	})
}

// A handshake that fails gives its place back.
func TestFailedHandshakeFreesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := crossroads(t, engine.Config{SessionsPerIP: 1})
		for range 3 {
			if a := s.do("GET", "EIO=4&transport=websocket", "", "From: 192.0.2.1", "Connection: Upgrade", "Upgrade: websocket"); a.status != 400 {
				t.Fatalf("got %d %q", a.status, a.body)
			}
		}
		if _, ok := s.knock("192.0.2.1"); !ok {
			t.Error("refused")
		}
		if n := s.srv.Stats().Handshakes["failed"]; n != 3 {
			t.Errorf("%d handshakes failed", n)
		}
	})
}

func TestConnectionsOfAnAddressAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := crossroads(t, engine.Config{SessionsPerIP: 5})
		// 300 addresses of one IPv6 network are one client.
		neighbour := func(i int) string { return fmt.Sprintf("2001:db8:1:2::%x", i) }
		if n := s.knocks(300, neighbour); n != 5 {
			t.Errorf("%d accepted from one /64", n)
		}
		s.exhausted("connections_per_ip", 1)
		if n := s.knocks(5, func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", 3+i) }); n != 5 {
			t.Errorf("%d accepted from five /64", n)
		}
		var last string
		for _, ip := range []string{"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"} {
			q, ok := s.knock(ip)
			if !ok {
				t.Fatalf("%s refused", ip)
			}
			last = q
		}
		if _, ok := s.knock("::ffff:192.0.2.1"); ok {
			t.Error("the mapped form is another address")
		}
		s.expect(s.do("POST", last, "1"), 200, "ok") // one leaves
		synctest.Wait()
		if n := s.knocks(5, same("192.0.2.1")); n != 1 {
			t.Errorf("%d accepted after one has left", n)
		}
		for range 10 {
			if _, ok := s.knock("192.0.2.1", "Exempt: yes"); !ok {
				t.Error("one that is exempt was refused")
			}
			if _, ok := s.knock("no address"); !ok {
				t.Error("one without an address was refused")
			}
		}
	})
}
