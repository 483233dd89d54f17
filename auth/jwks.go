package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/caddy-realtime/realtime/internal/guard"
)

const (
	// fetchGap is the time between two fetches that tokens cause, and of those
	// after a failure while keys are known.
	fetchGap       = 30 * time.Second
	maxRetry       = 10 * time.Second // between two fetches while no key is known
	defaultRefresh = time.Hour
	// maxTried bounds the work for a token that names no key, or one of
	// several with the same id.
	maxTried = 4
)

// errUnreachable says that a token's key could not be had at the moment.
var errUnreachable = errors.New("the key set is not available")

// KeySetConfig says where a KeySet is.
type KeySetConfig struct {
	// URL is https, or http to the loopback.
	URL string
	// Refresh is the time between two fetches; at least 30 s, default 1 h.
	Refresh time.Duration
	// Report is told how each fetch ended, from one goroutine, which it must
	// not hold up; nil: nobody is. Its errors name no secret.
	Report func(error)

	transport http.RoundTripper // default: newTransport()
}

// A KeySet is the JSON Web Key Set (RFC 7517) at a URL, and follows its
// changes: it is fetched at once, from time to time, and when a token names an
// unknown key. While the endpoint is down, the keys that were there last stay
// good. It is safe for concurrent use.
type KeySet struct {
	// Static after construction.
	url     string
	client  *http.Client
	refresh time.Duration
	report  func(error)
	stop    context.CancelFunc
	ended   chan struct{} // closed when the goroutine is gone
	wanted  chan struct{} // tells it that fetching was set; capacity 1

	// Owned by the goroutine.
	failures int           // fetches in a row
	next     time.Duration // until the next fetch

	mu       sync.Mutex
	keys     []namedKey    // the last that were fetched, replaced as a whole; guarded by mu
	err      error         // why they are not of now; guarded by mu
	fetching chan struct{} // closed when the fetch under way ends, nil if none is; guarded by mu
	asked    time.Time     // when a token last caused a fetch; guarded by mu
	closed   bool          // guarded by mu
}

type namedKey struct {
	id string // kid, "" if none
	*key
}

// NewKeySet begins to fetch c.URL; it does not wait for it. Close ends it.
func NewKeySet(c KeySetConfig) (*KeySet, error) {
	client, err := newClient(c.URL, c.transport)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Refresh == 0:
		c.Refresh = defaultRefresh
	case c.Refresh < fetchGap:
		return nil, fmt.Errorf("a refresh every %s: at least %s must be between two", c.Refresh, fetchGap)
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &KeySet{
		url: c.URL, client: client, refresh: c.Refresh, report: c.Report,
		stop: stop, ended: make(chan struct{}), wanted: make(chan struct{}, 1),
		err: errors.New("not fetched yet"),
	}
	s.fetching = make(chan struct{})
	s.wanted <- struct{}{}
	go s.always(ctx)
	return s, nil
}

// Close ends the fetching and waits for it. Keys that are known stay good.
func (s *KeySet) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	<-s.ended
}

func (s *KeySet) algorithms() []string { return publicAlgorithms }

// find blocks while a fetch is under way that may bring the key.
func (s *KeySet) find(ctx context.Context, algorithm, id string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, known := match(s.keys, algorithm, id)
	if !known {
		if err := s.renewLocked(ctx); err != nil {
			return nil, err
		}
		found, known = match(s.keys, algorithm, id)
	}
	switch {
	case !known && s.err != nil: // it may be a new key that we cannot see
		return nil, fmt.Errorf("%w: %w", errUnreachable, s.err)
	case !known:
		return nil, errors.New("the key set has no such key")
	case len(found.Keys) == 0:
		return nil, errors.New("the key is not for this algorithm")
	case len(found.Keys) > maxTried:
		return nil, fmt.Errorf("more than %d keys could be meant", maxTried)
	}
	return found, nil
}

// match returns the keys for a token, and whether those that it means are
// known at all. A token without key id means any key for its algorithm.
func match(keys []namedKey, algorithm, id string) (found jwt.VerificationKeySet, known bool) {
	for _, k := range keys {
		fits := slices.Contains(k.allowed, algorithm)
		if fits && (id == "" || k.id == id) {
			found.Keys = append(found.Keys, k.material)
		}
		known = known || id == "" && fits || id != "" && k.id == id
	}
	return found, known
}

// renewLocked waits for the fetch under way, or causes one if that may be. It
// gives up the lock meanwhile. All who come during a fetch wait for that one.
func (s *KeySet) renewLocked(ctx context.Context) error {
	if s.fetching == nil {
		if s.closed || !s.asked.IsZero() && time.Since(s.asked) < fetchGap {
			return nil
		}
		s.asked = time.Now()
		s.fetching = make(chan struct{})
		s.wanted <- struct{}{}
	}
	fetching := s.fetching
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-fetching:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errUnreachable, ctx.Err())
	}
}

// always is the KeySet's goroutine. It runs run until that returns without a
// panic: every token that names a new key depends on it.
func (s *KeySet) always(ctx context.Context) {
	defer close(s.ended)
	for !s.survived(ctx) {
	}
}

func (s *KeySet) survived(ctx context.Context) (ok bool) {
	defer s.caught()
	guard.Fault("key set")
	s.run(ctx)
	return true
}

// caught makes a panic the reason why the keys are not of now. It is not
// reported: it may have come from there.
func (s *KeySet) caught() {
	if p := recover(); p != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = panicked(p)
	}
}

func panicked(cause any) error { return fmt.Errorf("panic: %v\n%s", cause, debug.Stack()) }

// run makes all fetches, until ctx ends.
func (s *KeySet) run(ctx context.Context) {
	for s.wait(ctx, s.next) {
		s.next = maxRetry // if this one does not get to its end
		keys, err := s.fetch(ctx)
		s.finish(keys, err)
		if ctx.Err() == nil {
			s.report(err)
		}
		s.failures++
		if err == nil {
			s.failures = 0
		}
		s.next = s.pause()
	}
	s.finish(nil, ctx.Err())
}

// finish notes how a fetch ended and wakes those who wait for it.
func (s *KeySet) finish(keys []namedKey, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.keys = keys
	}
	s.err = err
	if s.fetching != nil {
		close(s.fetching)
		s.fetching = nil
	}
}

// wait waits until the next fetch is due or wanted, which it notes as under
// way; false if there is none.
func (s *KeySet) wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-s.wanted:
		return true
	case <-timer.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetching == nil {
		s.fetching = make(chan struct{})
	} else {
		<-s.wanted // a token was as quick as the timer: one fetch for both
	}
	return true
}

// pause is the time until the next fetch.
func (s *KeySet) pause() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failures == 0:
		return s.refresh
	case s.keys != nil:
		return fetchGap
	}
	return min(time.Second<<min(s.failures-1, 10), maxRetry)
}
