package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	fetchTimeout = 5 * time.Second // from dialing to the body's last byte
	maxKeySet    = 256 << 10       // bytes, inflated
	maxKeys      = 64
)

// newClient returns a client for one URL. It is not led elsewhere: to another
// host, or away from https.
func newClient(address string, transport http.RoundTripper) (*http.Client, error) {
	origin, err := parseURL(address)
	if err != nil {
		return nil, err
	}
	if transport == nil {
		transport = newTransport()
	}
	return &http.Client{
		Timeout:   fetchTimeout,
		Transport: transport,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Host != origin.Host || r.URL.Scheme != origin.Scheme || len(via) > 3 {
				return errors.New("redirected to another host, or too often")
			}
			return nil
		},
	}, nil
}

// CheckURL reports what is wrong with the URL of a key set, without telling
// it.
func CheckURL(address string) error {
	_, err := parseURL(address)
	return err
}

func parseURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, errors.New("the URL cannot be parsed") // its error would show it
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return nil, errors.New("the URL is not of the form https://host/path")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	}
	return nil, errors.New("the URL is not https: whoever is on the way could change the keys")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// newTransport returns one that holds no connection between two fetches.
func newTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		ForceAttemptHTTP2:      true,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// fetch gets the key set. A panic in it is an error.
func (s *KeySet) fetch(ctx context.Context) (keys []namedKey, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	body, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	return parseKeySet(body)
}

func (s *KeySet) get(ctx context.Context) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, errors.New("the URL cannot be parsed")
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(r)
	if err != nil {
		var withURL *url.Error
		if errors.As(err, &withURL) { // whose query may be somebody's secret
			err = withURL.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the endpoint answered %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxKeySet:
		return nil, fmt.Errorf("the key set has more than %d bytes", maxKeySet)
	}
	return body, nil
}

// parseKeySet returns the keys that tokens may be signed with. Others are
// ignored (RFC 7517, 5); a set that has none is broken.
func parseKeySet(body []byte) ([]namedKey, error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("decoding the key set: %w", err)
	}
	if n := len(set.Keys); n == 0 || n > maxKeys {
		return nil, fmt.Errorf("the key set has %d keys, not 1 to %d", n, maxKeys)
	}
	var keys []namedKey
	var unusable []error
	for _, raw := range set.Keys {
		k, err := parseJWK(raw)
		if err != nil {
			unusable = append(unusable, err)
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the key set has no key for tokens: %w", errors.Join(unusable...))
	}
	return keys, nil
}

func parseJWK(raw []byte) (namedKey, error) {
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil {
		return namedKey{}, err
	}
	switch {
	case jwk.Use != "" && jwk.Use != "sig":
		return namedKey{}, fmt.Errorf("a key for the use %q", jwk.Use)
	case !jwk.IsPublic(): // a shared secret, too: what is published is none
		return namedKey{}, errors.New("a key that is not public")
	}
	k, err := newKey(jwk.Key)
	if err != nil {
		return namedKey{}, err
	}
	if jwk.Algorithm != "" {
		if !slices.Contains(k.allowed, jwk.Algorithm) {
			return namedKey{}, fmt.Errorf("a key for the algorithm %q", jwk.Algorithm)
		}
		k.allowed = []string{jwk.Algorithm}
	}
	return namedKey{jwk.KeyID, k}, nil
}
