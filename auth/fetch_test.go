package auth

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/internal/siotest"
)

// served is a verifier of the key set at a path of a real HTTP server, which
// answers for all hosts and ports.
func served(t *testing.T, url string, handler http.HandlerFunc) (*Verifier, func() error) {
	network := siotest.Serve(t, handler)
	var mu sync.Mutex
	var last error
	transport := newTransport().(*http.Transport)
	transport.DialContext = network.Dial
	s := keySet(t, KeySetConfig{URL: url, Report: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		last = err
	}}, transport)
	return verifier(t, Config{KeySet: s}), func() error {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

func TestBrokenEndpointIsAnErrorWithItsCause(t *testing.T) {
	set := jwks(t, jwk{"1", keys().p256})
	var many []jwk
	for i := range 65 {
		many = append(many, jwk{fmt.Sprint(i), keys().p256})
	}
	padding := strings.Repeat(" ", 300<<10)
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
	}
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"huge": {text(set + padding), "more than 262144 bytes"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for err := error(nil); err == nil; {
				_, err = io.WriteString(w, padding)
			}
		}, "more than 262144 bytes"},
		"zip bomb":  {zipped(set + strings.Repeat(padding, 100)), "more than 262144 bytes"},
		"65 keys":   {text(jwks(t, many...)), "65 keys"},
		"no keys":   {text(`{"keys":[]}`), "0 keys"},
		"useless":   {text(`{"keys":[{"kty":"oct","k":"AAAA"}]}`), "not public"},
		"no set":    {text(`[]`), "decoding"},
		"deep":      {text(`{"keys":[` + strings.Repeat("[", 100_000)), "decoding"},
		"cut":       {text(set[:len(set)/2]), "decoding"},
		"not found": {http.NotFound, "404"},
		"silent":    {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "deadline"},
		"slow": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, " ")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(time.Second):
				case <-r.Context().Done():
				}
			}
		}, "deadline"},
		"to another host": {http.RedirectHandler("http://127.0.0.2/keys", http.StatusFound).ServeHTTP, "another host"},
		"to another port": {http.RedirectHandler("http://127.0.0.1:8080/keys", http.StatusFound).ServeHTTP, "another host"},
		"in a circle":     {http.RedirectHandler("/keys", http.StatusFound).ServeHTTP, "too often"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, report := served(t, "http://127.0.0.1/keys", func(w http.ResponseWriter, r *http.Request) {
					if r.Host != "127.0.0.1" {
						t.Errorf("%s was asked", r.Host)
					}
					tc.handler(w, r)
				})
				began := time.Now()
				troubled(t, v, signed(t, "1", keys().p256))
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("took %s", took)
				}
				synctest.Wait()
				if err := report(); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("reported %v, want %q", err, tc.want)
				}
			})
		})
	}
}

func zipped(text string) http.HandlerFunc {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(b.Bytes())
	}
}

func TestRedirectWithinTheHost(t *testing.T) {
	set := jwks(t, jwk{"1", keys().p256})
	synctest.Test(t, func(t *testing.T) {
		v, _ := served(t, "http://localhost:9000/keys", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				http.Redirect(w, r, "/v2/keys", http.StatusMovedPermanently)
				return
			}
			_, _ = io.WriteString(w, set)
		})
		accepts(t, v, signed(t, "1", keys().p256))
	})
}

func TestKeySetURLs(t *testing.T) {
	none := roundTripper(func(*http.Request) (*http.Response, error) { return nil, net.ErrClosed })
	for url, ok := range map[string]bool{
		"https://issuer.example/.well-known/jwks.json": true,
		"https://10.0.0.1:8443/keys?tenant=a":          true,
		"http://127.0.0.1:9000/keys":                   true,
		"http://[::1]/keys":                            true,
		"http://localhost/keys":                        true,
		"http://issuer.example/keys":                   false,
		"http://10.0.0.1/keys":                         false,
		"http://localhost.evil.example/keys":           false,
		"http://127.0.0.1.evil.example/keys":           false,
		"http://127.0.0.1@evil.example/keys":           false,
		"https://user:password@issuer.example/keys":    false,
		"https:///keys":                                false,
		"file:///etc/keys":                             false,
		"issuer.example/keys":                          false,
		"":                                             false,
		"https://%zz":                                  false,
		"https://issuer.example/keys#a":                false,
	} {
		if err := CheckURL(url); ok != (err == nil) {
			t.Errorf("CheckURL of %s: %v", url, err)
		}
		s, err := NewKeySet(KeySetConfig{URL: url, transport: none})
		if ok != (err == nil) {
			t.Errorf("%s: %v", url, err)
		}
		if err == nil {
			s.Close()
		} else if strings.Contains(err.Error(), "password") {
			t.Errorf("%v tells the password", err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(jwks(f, jwk{"1", keys().p256}, jwk{"2", keys().rsa}, jwk{"3", keys().ed})))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"","y":""},{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := parseKeySet(body)
		if (err == nil) != (len(list) > 0) {
			t.Errorf("got %d keys, %v", len(list), err)
		}
		for _, k := range list {
			if len(k.allowed) == 0 {
				t.Errorf("a key for nothing: %+v", k)
			}
		}
	})
}

// The endpoint has to prove who it is, whatever it says.
func TestEndpointWithoutTrustedCertificate(t *testing.T) {
	body := jwks(t, jwk{"1", keys().p256})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer server.Close()
	reports := make(chan error, 10)
	v := verifier(t, Config{KeySet: keySet(t, KeySetConfig{URL: server.URL, Report: func(err error) { reports <- err }}, nil)})
	troubled(t, v, signed(t, "1", keys().p256))
	if err := <-reports; err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("reported %v", err)
	}
	trusting := newTransport().(*http.Transport)
	trusting.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	accepts(t, verifier(t, Config{KeySet: keySet(t, KeySetConfig{URL: server.URL}, trusting)}), signed(t, "1", keys().p256))
}
