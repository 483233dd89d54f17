package realtime

import (
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/realtime/auth"
)

// keySets holds the key sets that configs use: keySetID → *pooledKeySet. They
// outlive a reload, so that it needs no fetch, and the keys stay known when
// the endpoint is down just then.
var keySets = caddy.NewUsagePool()

type keySetID struct {
	url     string
	refresh time.Duration
}

type pooledKeySet struct{ *auth.KeySet }

// Destruct is called by the pool when no config has the key set any more.
func (p pooledKeySet) Destruct() error {
	p.Close()
	return nil
}

// acquireKeySet returns the key set at address, until Cleanup.
func (j *JWT) acquireKeySet(address string) (*auth.KeySet, error) {
	id := keySetID{address, time.Duration(j.Refresh)}
	v, _, err := keySets.LoadOrNew(id, func() (caddy.Destructor, error) {
		s, err := auth.NewKeySet(auth.KeySetConfig{URL: address, Refresh: id.refresh, Report: reporter(address)})
		return pooledKeySet{s}, err
	})
	if err != nil {
		return nil, err
	}
	j.keySet = id
	return v.(pooledKeySet).KeySet, nil
}

// Cleanup gives the key set back; whoever is the last ends its fetching.
func (j *JWT) Cleanup() error {
	if j.keySet == (keySetID{}) {
		return nil
	}
	id := j.keySet
	j.keySet = keySetID{}
	_, err := keySets.Delete(id)
	return err
}

// reporter returns what logs changes of how the fetches go. It logs to the
// process's log of the time, not to one of a config that is gone by then.
func reporter(address string) func(error) {
	endpoint := "the URL"
	if u, err := url.Parse(address); err == nil {
		endpoint = u.Scheme + "://" + u.Host + u.Path // without the query, which may be a secret
	}
	last := ""
	return func(err error) {
		log := caddy.Log().Named("realtime.jwks").Sugar()
		switch {
		case err != nil && err.Error() != last:
			last = err.Error()
			log.Warnw("the key set cannot be fetched; known keys stay good", "url", endpoint, "error", last)
		case err == nil && last != "":
			last = ""
			log.Infow("the key set is fetched again", "url", endpoint)
		}
	}
}
