package engine

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/realtime/engine/internal/netpoll"
	"github.com/caddy-realtime/realtime/internal/budget"
	"github.com/caddy-realtime/realtime/internal/guard"
)

// Info is what the place where a request came in adds to it. The zero value
// means: address from the request, same origin only, nothing else.
type Info struct {
	RemoteIP string   // the client's address, proxies considered
	Origins  *Origins // who may connect from a browser
	Secrets  []string // keys of the query whose values no Handshake shows, beside the usual ones
	// Identity names who sent the request, if somebody in front knows; every
	// request of a session must bring the same.
	Identity string
	// Exempt says that limits per address do not apply: the address is not
	// the client's own, but that of a proxy, say.
	Exempt bool
	// Handler makes the receiver of the session that the request opens; nil:
	// the Server's does. No Handshake shows it.
	Handler Handler
}

// Handshake is what is known of a session from its first request. It is
// immutable.
type Handshake struct {
	// JSON is the object Socket.IO calls handshake, without auth and without
	// the values of cookie, authorization and tokens:
	// {"headers":{…},"time":…,"address":…,"xdomain":…,"secure":…,"issued":…,"url":…,"query":{…}}.
	JSON     []byte
	RemoteIP string
	Info     Info
}

// Server is a table of sessions and the HTTP handler that feeds them. It is
// safe for concurrent use.
type Server struct {
	// Static after construction.
	handler Handler
	start   time.Time

	config      atomic.Pointer[Config]
	handshakes  atomic.Int64 // in progress
	wheel       wheel
	workers     workers
	heavy       workers
	stints      sync.Mutex // held by the one of those in Yield that runs next
	poller      netpoll.Poller
	panics      guard.Panics
	open        sync.WaitGroup // sessions whose Receiver.Closed has not returned
	present     sync.WaitGroup // sessions of which something is left
	counts      [len(reasons)]atomic.Uint64
	results     [results]atomic.Uint64 // of handshakes
	exhausted   budget.Counts
	accepted    budget.Bucket
	memory      *budget.Memory
	shedding    atomic.Bool
	shedBackoff atomic.Int64 // instant until which there is nothing to relieve
	reclaimed   atomic.Int64 // instant of the last reclaim
	addresses   budget.Accounts[netip.Addr]
	notices     budget.Notices // of refused origins

	mu       sync.Mutex
	sessions map[string]*Session // by sid, until nothing of them is left
	live     int                 // of these, the open ones
	closed   bool
}

// NewServer returns a Server that reports to h.
func NewServer(h Handler, c Config) *Server {
	s := &Server{handler: h, start: time.Now().Add(-time.Nanosecond), sessions: map[string]*Session{}}
	if s.memory = c.UsedMemory; s.memory == nil {
		s.memory = new(budget.Memory)
	}
	s.wheel.init(s)
	s.workers.init(s, false)
	s.heavy.init(s, true)
	s.poller.Init(func(run func()) { go s.always("poller", run) })
	s.Update(c)
	return s
}

// Update makes c apply to sessions that open from now on; its Rates and
// Memory to all.
func (s *Server) Update(c Config) {
	c = c.WithDefaults()
	s.config.Store(&c)
}

// ServeHTTP serves r with no more known than the request says.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.Serve(w, r, Info{}) }

// Serve answers any request below the endpoint's path. It returns when a
// WebSocket over HTTP/1 is upgraded; on HTTP/2 and 3 and for a poll it blocks.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, info Info) {
	defer s.caughtRequest()
	guard.Fault("request")
	q := s.newRequest(w, r, info)
	info.Origins.setHeaders(w.Header(), r)
	if !info.Origins.allows(r) {
		// Node goes on and leaves the refusal to the browser, which then has a
		// session; and a WebSocket would not be refused at all. Ours is an
		// HTTP 403 for both, before anything is allocated.
		if q.sid == "" {
			s.handshaken(foreign)
		}
		q.refuseOrigin()
		return
	}
	if r.Method == http.MethodOptions && info.Origins.crosses() {
		preflight(w, r)
		return
	}
	if r.Method == http.MethodConnect && !q.upgrade {
		w.WriteHeader(http.StatusNotImplemented) // RFC 8441 section 4: a protocol that we do not know
		return
	}
	if q.plain() {
		q.openWebSocket(PlainText)
		return
	}
	if e := q.check(); e != nil {
		if q.sid == "" {
			s.handshaken(malformed)
		}
		q.logRefusal(malformed, e.Message, "")
		q.refuse(e)
		return
	}
	switch {
	case q.upgrade && last(q.query["transport"]) != "websocket":
		q.rejectUpgrade()
	case q.session == nil && q.upgrade:
		q.openWebSocket(EngineIO)
	case q.session == nil:
		q.openPolling()
	case q.upgrade:
		q.upgradeSession()
	case r.Method == http.MethodGet:
		q.poll()
	case r.Method == http.MethodPost:
		q.post()
	default:
		w.WriteHeader(http.StatusInternalServerError) // as Node does
	}
}

// openSession makes a session and tells the handler. It is nil if the server was
// closed or the handler failed.
func (s *Server) openSession(q *request, kind Kind) *Session {
	session := &Session{
		server:    s,
		config:    q.config,
		id:        newID(),
		handshake: Handshake{JSON: handshakeJSON(q.r, q.query, q.info), RemoteIP: q.info.RemoteIP, Info: q.info},
		origin:    q.r.Header.Get("Origin"),
		kind:      kind,
		base64:    q.query.Get("b64") == "1",
	}
	session.transport = polling{session}
	session.closeDue = s.now() + instant(q.config.HandshakeTimeout)
	session.handshake.Info.Origins = nil // what a session does not need does not outlive a reload
	session.handshake.Info.Secrets = nil
	session.handshake.Info.Handler = nil
	if kind == EngineIO {
		f := openPacket(session, q.upgrade)
		session.outbox, session.queued = append(session.outbox, f), f.cost()
	}
	session.input.Lock() // until there is a receiver: the session can be found and closed already
	s.mu.Lock()
	if limit := q.config.MaxSessions; s.closed || limit > 0 && s.live >= limit { // others were let in at the same time
		s.mu.Unlock()
		return nil
	}
	s.sessions[session.id] = session
	s.live++
	s.open.Add(1)
	s.present.Add(1)
	s.mu.Unlock()
	s.Hold(budget.Sockets, len(session.handshake.JSON))

	session.account.Store(q.account)
	q.account = nil // it is the session's to release
	if !session.callOpen(cmp.Or[Handler](q.info.Handler, s.handler)) {
		session.finish()
		return nil
	}
	session.startClocks()
	return session
}

// callOpen makes the receiver, with input held, which it releases. A panic in it
// leaves no session behind.
func (s *Session) callOpen(h Handler) (ok bool) {
	defer s.input.Unlock()
	defer func() {
		if !ok {
			s.receiver = nobody{}
		}
	}()
	defer s.server.caught("open", s)
	guard.Fault("open")
	s.receiver = h.Open(s)
	return true
}

// nobody receives for a session whose Handler failed.
type nobody struct{}

func (nobody) Message(*Batch, []byte, bool) {}
func (nobody) Closed(*Batch, Reason)        {}

// newID is 20 characters, 15 random bytes: the only thing that a request needs
// to take part in a session.
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (s *Server) lookup(id string) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id]
}

// ended counts the end of a session.
func (s *Server) ended(session *Session) {
	s.counts[session.reason.index()].Add(1)
	s.release(session)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live--
}

// forget removes a session that nothing is left of. It may be called twice.
func (s *Server) forget(session *Session) {
	s.wheel.remove(session)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[session.id] != session {
		return
	}
	delete(s.sessions, session.id)
	s.Hold(budget.Sockets, -len(session.handshake.JSON))
	s.present.Done()
}

// Close ends all sessions with ShuttingDown and refuses new ones. It waits
// until every Receiver.Closed has returned, and then at most half a second for
// clients to take what is queued.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, session := range s.all() {
		session.Close(ShuttingDown)
	}
	s.open.Wait()
	deadline := s.now() + instant(shutdownTimeout)
	for _, session := range s.all() {
		session.lingerUntil(deadline)
	}
	s.present.Wait()
	s.retire()
}

// retire lets the goroutines go that serve all sessions. They stay while there
// is none: the next one would have to start them, and they grow at first.
func (s *Server) retire() {
	s.wheel.retire()
	s.workers.retire()
	s.heavy.retire()
	s.poller.Retire()
}

func (s *Server) all() []*Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Session, 0, len(s.sessions))
	for _, session := range s.sessions {
		all = append(all, session)
	}
	return all
}

// Stats are figures of the moment.
type Stats struct {
	Sessions, Polling, WebSocket int
	// Unread is the age of the oldest message that a client has not taken,
	// about; 0 if no client is behind.
	Unread time.Duration
	// Closed counts closed sessions by reason, since the Server exists.
	Closed map[Reason]uint64
	// Handshakes counts handshakes by how they went, since the Server exists:
	// accepted, origin, malformed, limited, failed.
	Handshakes map[string]uint64
	// Exhausted counts how often each limit said no.
	Exhausted map[string]uint64
	Panics    uint64 // recovered so far, each at the cost of one session
}

// Stats reports figures of the moment.
func (s *Server) Stats() Stats {
	st := Stats{
		Closed: map[Reason]uint64{}, Handshakes: map[string]uint64{}, Exhausted: map[string]uint64{},
		Panics: s.panics.Count(),
	}
	for i, name := range resultNames {
		st.Handshakes[name] = s.results[i].Load()
	}
	s.exhausted.Each(func(kind string, n uint64) { st.Exhausted[kind] = n })
	for i, reason := range reasons {
		if n := s.counts[i].Load(); n > 0 {
			st.Closed[reason] = n
		}
	}
	now := s.now()
	for _, session := range s.all() {
		session.mu.Lock()
		switch {
		case !session.state.isOpen():
		case session.polls():
			st.Polling++
		default:
			st.WebSocket++
		}
		if session.marked > 0 {
			st.Unread = max(st.Unread, time.Duration(now-session.stalled)+session.config.WriteTimeout)
		}
		session.mu.Unlock()
	}
	st.Sessions = st.Polling + st.WebSocket
	return st
}
