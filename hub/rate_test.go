package hub_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

// takes is a policy whose events take a token each, ten a second and five at
// once, from the bucket that bears their name.
func takes(every time.Duration, burst int) *script {
	return &script{event: func(c hub.Call) {
		bucket := map[string]string{"a": "a", "b": "b"}[c.Event().Name] // never the client's own bytes
		c.Do(&hub.Ack{Args: args(fmt.Sprint(c.Do(&hub.Take{Bucket: bucket, Every: every, Burst: burst}) == nil))})
		c.End(nil)
	}}
}

func TestTakeAllowsTheBurstThenTheRate(t *testing.T) {
	serve(t, takes(100*time.Millisecond, 5), func(t *testing.T, h *hub.Hub, n *siotest.Network) {
		c := n.WebSocket(wsPath)
		c.Join("/", "")
		take := func(c *siotest.Conn, event string, want ...bool) {
			t.Helper()
			for _, ok := range want {
				c.Send(`421["` + event + `"]`)
				c.Expect(fmt.Sprintf(`431[%v]`, ok))
			}
		}
		take(c, "a", true, true, true, true, true, false, false)
		take(c, "b", true) // each has its own
		other := n.WebSocket(wsPath)
		other.Join("/", "")
		take(other, "a", true) // of each socket
		time.Sleep(100 * time.Millisecond)
		take(c, "a", true, false)
		time.Sleep(time.Hour) // no more than the burst comes together
		take(c, "a", true, true, true, true, true, false)

		// What was taken at the rate before a reload does not keep the bucket
		// empty longer than it takes to fill at the new one.
		time.Sleep(time.Second)
		h.Update(hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: takes(time.Minute, 1)}}})
		take(c, "a", true, false)
		h.Update(hub.Config{Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: takes(time.Second, 3)}}})
		take(c, "a", false)
		time.Sleep(time.Second)
		take(c, "a", true, false)
		synctest.Wait()
	})
}
