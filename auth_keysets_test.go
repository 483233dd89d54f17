package realtime

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// An issuer signs tokens with a key on P-256.
type issuer struct {
	id  string
	key *ecdsa.PrivateKey
}

func newIssuer(t *testing.T, id string) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issuer{id, key}
}

func (i issuer) token(t *testing.T, user string) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": user, "exp": time.Now().Add(time.Hour).Unix()})
	token.Header["kid"] = i.id
	text, err := token.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (i issuer) pem(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(i.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// keyServer publishes issuers' keys, unless it is down.
type keyServer struct {
	*httptest.Server
	issuers atomic.Pointer[[]issuer]
	down    atomic.Bool
	asked   atomic.Int64
}

func serveKeys(t *testing.T, issuers ...issuer) *keyServer {
	s := new(keyServer)
	s.issuers.Store(&issuers)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.asked.Add(1)
		if s.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		var set jose.JSONWebKeySet
		for _, i := range *s.issuers.Load() {
			set.Keys = append(set.Keys, jose.JSONWebKey{KeyID: i.id, Key: i.key.Public()})
		}
		if err := json.NewEncoder(w).Encode(set); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// identified is a realtime block with that auth, whose event whoami is answered
// with the user.
func identified(auth string) string {
	return "realtime {\n auth " + auth + "\n on whoami {\n ack user\n }\n on handshake {\n ack socket.handshake\n }\n}"
}

// expectRefusal joins and compares the error.
func expectRefusal(t *testing.T, c testClient, payload, message string) {
	t.Helper()
	if err := c.send("40" + payload); err != nil {
		t.Fatal(err)
	}
	expect(t, c, `44{"message":"`+message+`"}`)
}

func payload(token string) string { return fmt.Sprintf(`{"token":%q}`, token) }

// expectUser compares the user that the rules see with the beginning of want.
func expectUser(t *testing.T, c testClient, want string) {
	t.Helper()
	if got, err := call(c, "whoami"); err != nil || !strings.HasPrefix(got, want) {
		t.Fatalf("got %s, %v; want %s", got, err, want)
	}
}

func TestPublicKeyFileVerifiesTokens(t *testing.T) {
	ours, theirs := newIssuer(t, "1"), newIssuer(t, "1")
	path := writeFile(t, "issuer.pem", ours.pem(t))
	t.Setenv("REALTIME_TEST_PEM", path)
	for _, name := range []string{path, "{env.REALTIME_TEST_PEM}"} {
		port := freePort(t)
		mustLoad(t, quiet(site(port, identified("jwt {\n public_key "+name+"\n }"))))
		c := dialWebSocket(t, port, nil)
		join(t, c, payload(ours.token(t, "ann")))
		expectUser(t, c, `[{"exp":`)
		expectRefusal(t, dialWebSocket(t, port, nil), payload(theirs.token(t, "ann")), "Invalid token")
		expectRefusal(t, dialWebSocket(t, port, nil), payload(token(t, "ann")), "Invalid token")
		expectRefusal(t, dialWebSocket(t, port, nil), "", "Authentication error")
	}
	for name, want := range map[string]string{
		"/nonexistent.pem":                       "public_key",
		writeFile(t, "empty.pem", ""):            "no PEM block",
		"{env.REALTIME_TEST_NOTHING}/issuer.pem": "public_key",
	} {
		if err := load(t, quiet(site(freePort(t), identified("jwt {\n public_key "+name+"\n }")))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}

func TestKeySetOfAnEndpoint(t *testing.T) {
	first, second := newIssuer(t, "1"), newIssuer(t, "2")
	keys := serveKeys(t, first)
	port := freePort(t)
	mustLoad(t, quiet(site(port, identified("jwt {\n jwks "+keys.URL+"\n }"))))
	for name, dial := range dialers {
		c := dial(t, port)
		join(t, c, payload(first.token(t, "ann-"+name)))
	}
	keys.issuers.Store(&[]issuer{second})
	c := dialWebSocket(t, port, nil)
	join(t, c, payload(second.token(t, "bob")))
	expectRefusal(t, dialWebSocket(t, port, nil), payload(first.token(t, "ann")), "Invalid token")
	expectUser(t, c, `[{"exp":`) // who is in stays in
}

// A key that cannot be asked for is no client's fault: the transport closes,
// so that the stock client tries again, and then it gets in.
func TestUnreachableKeySetIsAPassingTrouble(t *testing.T) {
	ours := newIssuer(t, "1")
	keys := serveKeys(t, ours)
	keys.down.Store(true)
	port := freePort(t)
	// It tries again faster than clients may.
	block := strings.Replace(identified("jwt {\n jwks "+keys.URL+"\n }"), "{", "{\n limits {\n accept off\n }\n", 1)
	mustLoad(t, quiet(site(port, block)))
	for name, dial := range dialers {
		c := dial(t, port)
		if err := c.send("40" + payload(ours.token(t, "ann"))); err != nil {
			t.Fatal(err)
		}
		for { // a poll is told nothing first, and the next one that the session is gone
			packet, err := next(c)
			if err != nil {
				break
			}
			if packet != "6" && packet != "1" {
				t.Errorf("%s: got %q", name, packet)
			}
		}
	}
	keys.down.Store(false)
	deadline := time.Now().Add(20 * time.Second)
	for {
		c := dialWebSocket(t, port, nil)
		if err := c.send("40" + payload(ours.token(t, "ann"))); err != nil {
			t.Fatal(err)
		}
		if _, err := next(c); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("never let in")
		}
	}
}

// A key set outlives reloads: it is neither fetched again nor forgotten, even
// if its endpoint is down just then; and what nobody uses any more is gone.
func TestKeySetsOverReloads(t *testing.T) {
	ours := newIssuer(t, "1")
	keys := serveKeys(t, ours)
	config := func(v int) string {
		return quiet(site(freePort(t), strings.Replace(versioned(v), "{", "{\n auth jwt {\n jwks "+keys.URL+"\n }\n namespace /x {\n auth jwt {\n jwks "+keys.URL+" 10m\n }\n }\n", 1)))
	}
	mustLoad(t, config(0))
	settle(t, "the first fetches", func() bool { return keys.asked.Load() == 2 })
	port := freePort(t)
	mustLoad(t, quiet(site(port, identified("jwt {\n jwks "+keys.URL+"\n }"))))
	join(t, dialWebSocket(t, port, nil), payload(ours.token(t, "ann")))
	keys.down.Store(true)
	goroutines := runtime.NumGoroutine()
	for v := range 50 {
		mustLoad(t, config(v))
		if err := validate(t, config(v+1)); err != nil {
			t.Fatal(err)
		}
	}
	port = freePort(t)
	mustLoad(t, quiet(site(port, identified("jwt {\n jwks "+keys.URL+"\n }"))))
	join(t, dialWebSocket(t, port, nil), payload(ours.token(t, "ann")))

	mustLoad(t, quiet(site(freePort(t), versioned(0))))
	for _, refresh := range []time.Duration{0, 10 * time.Minute} {
		if n, ok := keySets.References(keySetID{keys.URL, refresh}); ok {
			t.Errorf("%d users of a key set that nobody has", n)
		}
	}
	settle(t, "goroutines", func() bool { return runtime.NumGoroutine() < goroutines+5 })
	if err := load(t, quiet(site(freePort(t), identified("jwt {\n jwks "+keys.URL+"\n algorithms HS256\n }")))); err == nil {
		t.Error("HS256 with public keys was accepted")
	}
	if _, ok := keySets.References(keySetID{keys.URL, 0}); ok {
		t.Error("a config that failed keeps its key set")
	}
}
