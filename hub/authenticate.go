package hub

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/auth"
	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/internal/guard"
)

// Authenticator says who a socket is. It is called for each CONNECT and each
// auth-refresh, concurrently, also for one session.
type Authenticator interface {
	// Authenticate returns nil for an anonymous socket. payload is the JSON
	// object that came with CONNECT or auth-refresh, nil if none; it is valid
	// during the call. auth.ErrNoToken and auth.ErrInvalidToken refuse the
	// client for good. Any other error is a passing trouble, as is a panic:
	// the connection is closed after a pause, and the client tries again.
	//
	// It may block: it runs on a goroutine of its own, and events that the
	// client sends meanwhile wait. ctx ends with the session, with the socket,
	// and after 10 seconds; then what is returned counts as a passing trouble,
	// and Authenticate must return soon, since Hub.Close waits for it. As many
	// run at a time as a client may have namespaces, and 64 times GOMAXPROCS
	// in a hub; who comes then is told to try again.
	Authenticate(ctx context.Context, r *auth.Request, payload []byte) (*auth.Identity, error)
}

// NonBlocking is what an Authenticator implements that may not block at all.
type NonBlocking interface {
	// NeverBlocks reports that Authenticate takes some microseconds, whatever
	// the network does. It is then called on the goroutine that reads the
	// client's messages, and ctx means nothing. That saves a CONNECT the
	// changes of goroutines, which cost more than to verify a signature.
	NeverBlocks() bool
}

const (
	loginTime     = 10 * time.Second
	loginsPerCore = 64
)

var (
	errLoginPanic = errors.New("the authenticator panicked")
	errLoginsBusy = errors.New("too many authentications in progress")
)

// logins are the calls of Authenticators that run.
type logins struct {
	count   atomic.Int64
	running sync.WaitGroup
}

// beginLogin reserves the right to call an Authenticator; endLogin gives it
// back.
func (c *client) beginLogin() bool {
	l := &c.hub.logins
	if l.count.Add(1) > int64(loginsPerCore*runtime.GOMAXPROCS(0)) {
		l.count.Add(-1)
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if int(c.logins) >= c.hub.config.Load().NamespacesPerClient {
		l.count.Add(-1)
		return false
	}
	c.logins++
	l.running.Add(1)
	return true
}

func (c *client) endLogin() {
	c.mu.Lock()
	c.logins--
	c.mu.Unlock()
	c.hub.logins.count.Add(-1)
	c.hub.logins.running.Done()
}

// authenticate asks a and calls then with the answer, on a goroutine of its
// own unless a never blocks. The socket's departure cancels it.
func (s *Socket) authenticate(b *engine.Batch, a Authenticator, payload []byte, then func(*engine.Batch, *auth.Identity, error)) {
	if n, ok := a.(NonBlocking); ok && n.NeverBlocks() {
		id, err := s.ask(context.Background(), a, payload)
		then(b, id, err)
		return
	}
	if !s.client().beginLogin() {
		then(b, nil, errLoginsBusy)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), loginTime)
	s.setCancel(cancel)
	payload = bytes.Clone(payload)
	c := s.client()
	go func() {
		defer s.ns.hub.caught("login", c.session)
		defer c.endLogin()
		defer cancel()
		guard.Fault("login")
		id, err := s.ask(ctx, a, payload)
		b := engine.NewBatch()
		defer b.Flush()
		then(b, id, err)
	}()
}

func (s *Socket) ask(ctx context.Context, a Authenticator, payload []byte) (id *auth.Identity, err error) {
	err = errLoginPanic // unless it returns
	s.ns.hub.guard("authenticator", nil, func() { id, err = a.Authenticate(ctx, &s.client().opening.Credentials, payload) })
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return id, err
}

// setCancel has the socket's departure call cancel.
func (s *Socket) setCancel(cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateOpen {
		cancel()
		return
	}
	s.authStateLocked().cancel = cancel
}

// identify finds out who a new socket is and goes on with its connect call.
func (s *Socket) identify(b *engine.Batch, a Authenticator, payload []byte) {
	if a == nil {
		s.proceed(b, nil)
		return
	}
	s.authenticate(b, a, payload, s.identified)
}

// identified is the second half of identify.
func (s *Socket) identified(b *engine.Batch, id *auth.Identity, err error) {
	unknown := errors.Is(err, auth.ErrNoToken) || id == nil && err == nil
	switch {
	case !s.endIdentify(unknown):
		s.reject(b, nil)
	case err != nil:
		s.refuseIdentity(b, err)
	default:
		s.identity.Store(id)
		s.proceed(b, id)
	}
}

// proceed runs the connect call of a client that is known, or anonymous. What it
// claims comes first: if it takes up an earlier socket whose connection is still
// there, that one does not count any more.
func (s *Socket) proceed(b *engine.Batch, id *auth.Identity) {
	s.takeUp(b)
	if !s.client().countUser(s.ns, id) {
		s.refused("connect", errTooManyConnections)
		s.reject(b, errTooManyConnections)
		return
	}
	s.drain(b, newCall(s, connectCall))
}

// endIdentify reports whether identify goes on: not if the socket is gone, nor
// if a plain client whose request had no token may still send one.
func (s *Socket) endIdentify(unknown bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if unknown && s.authState != nil && s.authState.tentative {
		s.setStateLocked(stateKicked)
	}
	s.authState = nil
	return s.state == stateOpen
}

// proceedAnonymous lets a tentative socket connect without a token. It is false
// if the socket is gone.
func (s *Socket) proceedAnonymous() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.authState != nil {
		s.authState.tentative = false
	}
	return s.state == stateOpen
}

func (s *Socket) isTentative() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.authState != nil && s.authState.tentative
}

// refuseIdentity turns a socket away that authentication did not let in. Only
// what is wrong with the client is final.
func (s *Socket) refuseIdentity(b *engine.Batch, err error) {
	r, final := identityRefusal(err)
	s.refused("connect", r)
	if final {
		s.reject(b, r)
		return
	}
	s.reject(b, nil)
	s.session().CloseSoon()
}

// identityRefusal is why a client with err is refused. It is final if the
// client is at fault.
func identityRefusal(err error) (r *Refusal, final bool) {
	switch {
	case errors.Is(err, auth.ErrNoToken):
		return &Refusal{Code: Forbidden, Message: "Authentication error", Cause: err}, true
	case errors.Is(err, auth.ErrInvalidToken):
		return &Refusal{Code: Forbidden, Message: "Invalid token", Cause: err}, true
	case errors.Is(err, errLoginsBusy):
		return &Refusal{Code: Busy, Message: "Try again later", Cause: err}, false
	}
	return &Refusal{Code: UpstreamError, Message: "Try again later", Cause: err}, false
}

// reject ends a socket that did not join. It answers CONNECT with r, unless r is
// nil or the client has gone. Events that the client has sent never run.
func (s *Socket) reject(b *engine.Batch, r *Refusal) {
	told := r != nil && !s.isGone()
	s.setState(stateKicked)
	s.dropQueue()
	s.finishRecovery(b, false, told && r.Code != Limit) // beyond a limit, the client may ask again when there is room
	s.client().forget(s)
	if told {
		s.client().refuseConnect(b, s.ns.wire, r)
	}
	s.ns.hub.release(s.ns)
}
