package hub

import (
	"context"
	"time"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/rawjson"
	"github.com/caddy-realtime/realtime/parser"
)

const (
	tokenExpired = "token-expired" // server → client
	authRefresh  = "auth-refresh"  // client → server: [{"token": …}]

	expiryGrace     = 10 * time.Second // from token-expired to the end
	refreshInterval = 10 * time.Second
)

// authState is a socket's login in progress, and the expiry and refresh of its
// token. Most sockets have none. It is guarded by Socket.mu.
type authState struct {
	cancel    context.CancelFunc // ends the login that runs; nil: none does
	tentative bool               // of a plain client that has not said who it is
	timer     *time.Timer        // until the token expires, then until the socket goes; nil: it stays
	refreshed time.Time          // when the last auth-refresh came
}

// end stops all that goes on by itself.
func (t *authState) end() {
	if t.cancel != nil {
		t.cancel()
	}
	if t.timer != nil {
		t.timer.Stop()
	}
}

func (s *Socket) authStateLocked() *authState {
	if s.authState == nil {
		s.authState = new(authState)
	}
	return s.authState
}

// watchExpiry has the socket end when id does.
func (s *Socket) watchExpiry(id *auth.Identity) {
	if id == nil || id.Expires.IsZero() || id.KeepExpired {
		return
	}
	// The timer runs by the monotonic clock: it does not mind when the wall
	// clock is set.
	s.after(id, time.Until(id.Expires), s.expire)
}

// after calls f in d. It is false if the identity is another by now, or the
// socket is gone.
func (s *Socket) after(id *auth.Identity, d time.Duration, f func(*auth.Identity)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hasLocked(id) {
		return false
	}
	s.authStateLocked().timer = time.AfterFunc(d, func() { s.ns.hub.guard("token expiry", s.session(), func() { f(id) }) })
	return true
}

func (s *Socket) hasLocked(id *auth.Identity) bool {
	return s.state == stateOpen && s.identity.Load() == id
}

// expire tells the client that its token has expired.
func (s *Socket) expire(id *auth.Identity) {
	if !s.after(id, expiryGrace, s.dismiss) {
		return
	}
	b := engine.NewBatch()
	defer b.Flush()
	s.send(b, parser.Packet{Type: parser.Event, ID: parser.NoID, Name: []byte(tokenExpired)})
}

const reasonExpired = "token expired"

// dismiss disconnects a socket whose token has expired. The client is not
// told to stay away: it may come back with another token.
func (s *Socket) dismiss(id *auth.Identity) {
	s.mu.Lock()
	stays := !s.hasLocked(id)
	if !stays {
		s.setStateLocked(stateKicked)
	}
	s.mu.Unlock()
	if stays {
		return
	}
	b := engine.NewBatch()
	defer b.Flush()
	s.leave(b, reasonExpired)
	s.session().Close(engine.ForcedClose)
}

// refresh handles auth-refresh, the event in c: a later token of the same user
// takes the place of the present one. The policy hears of it afterwards.
func (s *Socket) refresh(b *engine.Batch, c *call) {
	payload, _ := rawjson.Index(c.packet.Args.JSON, 0)
	c.packet.Name, c.packet.Args = []byte(authRefresh), parser.Args{JSON: publicAuth(payload)}
	if c.packet.Args.JSON == nil {
		c.packet.Args.JSON = emptyObject
	}
	c.of(s, refreshCall)
	old := c.view.identity
	a, r := s.mayRefresh(old, payload)
	if r != nil {
		s.refuseRefresh(b, c, r)
		return
	}
	s.authenticate(b, a, payload, func(b *engine.Batch, id *auth.Identity, err error) {
		if r := s.renew(old, id, err); r != nil {
			s.refuseRefresh(b, c, r)
			return
		}
		c.view.identity = id
		s.enqueue(b, c)
	})
}

func (s *Socket) refuseRefresh(b *engine.Batch, c *call, r *Refusal) {
	s.refuse(b, authRefresh, c.packet.ID, r)
	c.free()
}

// mayRefresh checks what can be checked before anybody is asked, and says who
// is.
func (s *Socket) mayRefresh(old *auth.Identity, payload []byte) (Authenticator, *Refusal) {
	a := s.ns.spec.Load().Auth
	switch {
	case a == nil || old == nil:
		return nil, &Refusal{Code: Forbidden, Message: "No token to refresh"}
	case len(payload) == 0 || payload[0] != '{':
		return nil, &Refusal{Code: Invalid, Message: "Invalid arguments"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, now := s.authStateLocked(), time.Now()
	if t.cancel != nil || !t.refreshed.IsZero() && now.Sub(t.refreshed) < refreshInterval {
		return nil, &Refusal{Code: RateLimited, Message: "Too many refreshes"}
	}
	t.refreshed = now
	return a, nil
}

// renew replaces the identity old by id, which an Authenticator returned with
// err.
func (s *Socket) renew(old, id *auth.Identity, err error) *Refusal {
	s.endRefresh()
	if id == nil && err == nil {
		err = auth.ErrNoToken
	}
	if err != nil {
		r, _ := identityRefusal(err)
		return r
	}
	switch {
	case id.ID != old.ID:
		return &Refusal{Code: Forbidden, Message: "Another user's token"}
	case !outlives(id, old):
		return &Refusal{Code: Forbidden, Message: "Not a later token"}
	}
	s.replace(id)
	s.watchExpiry(id)
	return nil
}

func (s *Socket) endRefresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authStateLocked().cancel = nil
}

func (s *Socket) replace(id *auth.Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateOpen {
		return
	}
	s.identity.Store(id)
	if t := s.authState; t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}

// outlives reports whether a ends later than b.
func outlives(a, b *auth.Identity) bool {
	return !b.Expires.IsZero() && (a.Expires.IsZero() || a.Expires.After(b.Expires))
}
