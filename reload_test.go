package realtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/realtime/rules"
)

// versioned is a realtime block whose event "version" answers v.
func versioned(v int) string {
	return fmt.Sprintf("realtime {\n limits {\n events off\n }\n on version {\n ack %d\n }\n}", v)
}

func TestReloadKeepsClientsAndReplacesRules(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, versioned(1))))
	clients := joinAll(t, port)
	allAnswer := func(when, want string) {
		t.Helper()
		for name, c := range clients {
			if got, err := call(c, "version"); err != nil || got != want {
				t.Fatalf("%s: %s: got %s, %v; want %s", when, name, got, err, want)
			}
		}
	}
	allAnswer("at first", "[1]")

	mustLoad(t, quiet(site(port, versioned(2))))
	allAnswer("after a reload", "[2]")

	invalid := strings.Replace(versioned(3), "{", "{\n auth jwt {\n secret short\n }\n", 1)
	if err := load(t, quiet(site(port, invalid))); err == nil {
		t.Fatal("a short secret was accepted")
	}
	allAnswer("after a reload that failed in Provision", "[2]")

	// Whether our Start comes before that of the http app, which fails, is
	// chance: several runs see both.
	taken := takenPort(t)
	for range 8 {
		if err := load(t, quiet(site(port, versioned(4)), site(taken, ""))); err == nil {
			t.Fatal("a taken port was accepted")
		}
		allAnswer("after a reload that failed in Start", "[2]")
	}

	mustLoad(t, quiet(site(port, versioned(5))))
	allAnswer("after a last reload", "[5]")
}

// A config that fails to start undoes nothing: sockets stay in namespaces that it
// does not have, and lost sockets can be recovered. Caddy starts apps in random
// order, so the config is loaded until our app has started both before and after
// the one that fails.
func TestFailedReloadEndsNothing(t *testing.T) {
	port := freePort(t)
	kept := strings.Replace(versioned(1), "{", "{\n recovery 1h\n namespace /a {\n on version {\n ack 1\n }\n }\n namespace ~/b.*\n", 1)
	mustLoad(t, quiet(site(port, kept)))
	clients := joinAll(t, port)
	for _, c := range clients {
		for _, namespace := range []string{"/a", "/bc"} {
			if err := c.send("40" + namespace + ","); err != nil {
				t.Fatal(err)
			}
			expect(t, c, "40"+namespace+",{")
		}
	}
	lost := dialWebSocket(t, port, nil)
	if err := lost.send("40"); err != nil {
		t.Fatal(err)
	}
	var was struct{ SID, PID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(expect(t, lost, "40{"), "40")), &was); err != nil {
		t.Fatal(err)
	}
	lost.conn.Close()
	hub := inForce(t, "").instance.hub.Load()
	settle(t, "the loss", func() bool { return hub.Stats().Engine.Sessions == len(clients) })

	failing := withApp(t, quiet(site(port, versioned(2))), "fails")
	started := map[int]bool{} // generations of the hub when the app fails
	t.Cleanup(func() { startOfFailing = nil })
	startOfFailing = func() { started[instanceOf(t, "").generations()] = true }
	for n := 0; !started[1] || !started[2]; n++ {
		if err := caddy.Load(failing, true); err == nil || n == 100 {
			t.Fatalf("load %d: %v; started: %v", n, err, started)
		}
		for name, c := range clients {
			if err := c.send(`42/a,5["version"]`); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			expect(t, c, "43/a,5[1]")
			expectAnswer(t, c, "version", "[1]")
		}
	}
	again := dialWebSocket(t, port, nil)
	if err := again.send(`40{"pid":"` + was.PID + `"}`); err != nil {
		t.Fatal(err)
	}
	expect(t, again, `40{"sid":"`+was.SID)

	mustLoad(t, quiet(site(port, versioned(3)))) // and this one takes effect
	first, second := expect(t, clients["websocket"], "41/"), expect(t, clients["websocket"], "41/")
	if got := first + second; got != "41/a,41/bc," && got != "41/bc,41/a," {
		t.Errorf("got %s and %s", first, second)
	}
}

// Caddy does not stop the apps of a config that fails after they have started.
func TestReloadFailsAfterStart(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, versioned(1))))
	c := dialWebSocket(t, port, nil)
	join(t, c, "")
	text, err := adapt([]byte(quiet(site(freePort(t), versioned(2)))))
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`"config":{`), []byte(`"config":{"load":{"module":"none"},`), 1)
	if err := caddy.Load(text, true); err == nil || !strings.Contains(err.Error(), "config loader") {
		t.Fatal(err)
	}
	inForce(t, "")
	expectAnswer(t, c, "version", "[1]")
	mustLoad(t, quiet(site(port, versioned(3))))
	expectAnswer(t, c, "version", "[3]")
}

// withApp is the JSON of a Caddyfile with one more app.
func withApp(t *testing.T, caddyfile, app string) []byte {
	t.Helper()
	text, err := adapt([]byte(caddyfile))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Replace(text, []byte(`"apps":{`), []byte(`"apps":{"`+app+`":{},`), 1)
}

// failingApp is an app that cannot start.
type failingApp struct{}

func init() { caddy.RegisterModule(failingApp{}) }

// startOfFailing, if set, is called when a failingApp starts.
var startOfFailing func()

func (failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "fails", New: func() caddy.Module { return failingApp{} }}
}

func (failingApp) Start() error {
	if startOfFailing != nil {
		startOfFailing()
	}
	return errors.New("cannot start")
}

func (failingApp) Stop() error { return nil }

// Nothing is lost or doubled on WebSockets while the config changes, and no
// answer comes from older rules than the one before.
func TestReloadUnderTrafficLosesNothing(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, versioned(0))))
	const clients, reloads = 50, 10
	var calls atomic.Int64
	stop := make(chan struct{})
	done := make(chan error, clients)
	for range clients {
		c := dialWebSocket(t, port, nil)
		join(t, c, "")
		go func() { done <- callUntil(stop, c, &calls) }()
	}
	for v := range reloads {
		mustLoad(t, quiet(site(port, versioned(v+1))))
		target := calls.Load() + 2*clients
		settle(t, "traffic", func() bool { return calls.Load() >= target })
	}
	close(stop)
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d calls", calls.Load())
}

func callUntil(stop chan struct{}, c testClient, calls *atomic.Int64) error {
	last := 0
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		answer, err := call(c, "version")
		if err != nil {
			return err
		}
		v, err := strconv.Atoi(strings.Trim(answer, "[]"))
		if err != nil || v < last {
			return fmt.Errorf("got %s after version %d", answer, last)
		}
		last = v
		calls.Add(1)
	}
}

// A poll that waits while the config changes is answered, and the session
// goes on.
func TestReloadAnswersTheWaitingPoll(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, versioned(1))))
	c := dialPolling(t, port)
	join(t, c, "")

	polled := make(chan error, 1)
	go func() {
		packet, err := next(c)
		if err == nil && packet != "437[2]" {
			err = fmt.Errorf("got %q", packet)
		}
		polled <- err
	}()
	mustLoad(t, quiet(site(port, versioned(2))))
	sender := *c
	if err := sender.send(`427["version"]`); err != nil {
		t.Fatal(err)
	}
	if err := <-polled; err != nil {
		t.Fatal(err)
	}
	expectAnswer(t, c, "version", "[2]")
}

func TestGoneHubDisconnectsItsClients(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, versioned(1))))
	clients := joinAll(t, port)
	hub := inForce(t, "").instance.hub.Load()
	mustLoad(t, quiet(site(port, "respond gone 410")))

	expect(t, clients["websocket"], "41")
	for name, c := range clients {
		if packet, err := next(c); err == nil {
			t.Errorf("%s: got %q from a hub that is gone", name, packet)
		}
	}
	if open := hub.Stats().Engine.Sessions; open != 0 {
		t.Errorf("%d sessions are open", open)
	}
	if _, ok := instances.References(""); ok {
		t.Error("the hub is still in the pool")
	}
}

func TestGoneNamespaceDisconnectsItsSockets(t *testing.T) {
	with := strings.Replace(versioned(1), "{", "{\n namespace /a\n namespace ~/b.*\n", 1)
	for name, dial := range dialers {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			mustLoad(t, quiet(site(port, with)))
			c := dial(t, port)
			join(t, c, "")
			for _, namespace := range []string{"/a", "/bc"} {
				if err := c.send("40" + namespace + ","); err != nil {
					t.Fatal(err)
				}
				expect(t, c, "40"+namespace+",{")
			}
			mustLoad(t, quiet(site(port, versioned(2))))
			first, second := expect(t, c, "41/"), expect(t, c, "41/")
			if got := first + second; got != "41/a,41/bc," && got != "41/bc,41/a," {
				t.Errorf("got %s and %s", first, second)
			}
			expectAnswer(t, c, "version", "[2]")
		})
	}
}

// The limits of a namespace are in force at once; who is in more rooms stays
// in them.
func TestReloadLimitsOfNamespace(t *testing.T) {
	config := func(port, rooms int) string {
		return quiet(site(port, fmt.Sprintf("realtime {\nnamespace /a {\nlimits {\nrooms %d\n}\non enter {\njoin args\n}\non rooms {\nack `size(socket.rooms)`\n}\n}\n}", rooms)))
	}
	port := freePort(t)
	mustLoad(t, config(port, 2))
	c := dialers["websocket"](t, port)
	send := func(packet, want string) {
		t.Helper()
		if err := c.send(packet); err != nil {
			t.Fatal(err)
		}
		expect(t, c, want)
	}
	send("40/a,", "40/a,{")
	send(`42/a,1["enter","x","y"]`, `43/a,1[]`)
	send(`42/a,2["enter","z"]`, `43/a,2[{"error":"Too many rooms: at most 2","code":"LIMIT"}]`)
	mustLoad(t, config(port, 3))
	send(`42/a,3["enter","z"]`, `43/a,3[]`)
	mustLoad(t, config(port, 1))
	send(`42/a,4["enter","q"]`, `43/a,4[{"error":"Too many rooms: at most 1","code":"LIMIT"}]`)
	send(`42/a,5["rooms"]`, `43/a,5[4]`) // its own among them
}

func TestTwoSitesOneHub(t *testing.T) {
	a, b := freePort(t), freePort(t)
	const block = `realtime {
		hub %s
		on sub {
			join "news"
			ack
		}
		on pub {
			broadcast msg "hello" to "news"
		}
	}`
	shared := fmt.Sprintf(block, "shared")
	mustLoad(t, quiet(site(a, shared), site(b, shared)))
	ann, bob := dialWebSocket(t, a, nil), dialPolling(t, b)
	for _, c := range []testClient{ann, bob} {
		join(t, c, "")
		expectAnswer(t, c, "sub", "[]")
	}
	if err := ann.send(`42["pub"]`); err != nil {
		t.Fatal(err)
	}
	expect(t, bob, `42["msg","hello"]`)

	// The same rules under two names are two hubs.
	a, b = freePort(t), freePort(t)
	mustLoad(t, quiet(site(a, fmt.Sprintf(block, "one")), site(b, fmt.Sprintf(block, "two"))))
	ann, bob = dialWebSocket(t, a, nil), dialPolling(t, b)
	for _, c := range []testClient{ann, bob} {
		join(t, c, "")
		expectAnswer(t, c, "sub", "[]")
	}
	if err := ann.send(`42["pub"]`); err != nil {
		t.Fatal(err)
	}
	expectAnswer(t, bob, "sub", "[]")
}

func TestHubsMustAgree(t *testing.T) {
	a, b := freePort(t), freePort(t)
	for name, tc := range map[string]struct{ first, second, err string }{
		"named, same":              {"realtime {\n hub x\n}", "realtime {\n hub x\n path /b/\n origins *\n}", ""},
		"named, different":         {"realtime {\n hub x\n}", "realtime {\n hub x\n ping 1s 1s\n}", "differ"},
		"unnamed, different paths": {"realtime", "realtime {\n path /b/\n}", "second realtime handler"},
	} {
		t.Run(name, func(t *testing.T) {
			// Each adapted alone, as JSON from elsewhere might be put together:
			// the adapter has refused it otherwise.
			config := joinConfigs(t, quiet(site(a, tc.first)), quiet(site(b, tc.second)))
			err := caddy.Validate(config)
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("got %v, want %q", err, tc.err)
			}
		})
	}
}

func TestValidateHasNoEffect(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, versioned(1))))
	c := dialWebSocket(t, port, nil)
	join(t, c, "")
	before := runtime.NumGoroutine()
	for v := range 10 {
		if err := validate(t, quiet(site(port, versioned(v+10)), site(freePort(t), "realtime {\n hub other\n}"))); err != nil {
			t.Fatal(err)
		}
	}
	expectAnswer(t, c, "version", "[1]")
	if refs, _ := instances.References(""); refs != 1 {
		t.Errorf("the hub has %d users, want 1", refs)
	}
	if _, ok := instances.References("other"); ok {
		t.Error("a hub that was only validated is in the pool")
	}
	settle(t, "goroutines", func() bool { return runtime.NumGoroutine() < before+5 })
}

// After many reloads there is one generation, and neither goroutines nor
// memory grew.
func TestReloadsLeakNothing(t *testing.T) {
	port := freePort(t)
	mustLoad(t, quiet(site(port, versioned(0))))
	c := dialWebSocket(t, port, nil)
	join(t, c, "")

	var old []weak.Pointer[generation]
	var policies []weak.Pointer[rules.Set]
	reload := func(v int) {
		g := inForce(t, "")
		old = append(old, weak.Make(g))
		policies = append(policies, weak.Make(g.config.Namespaces[0].Policy.(*rules.Set)))
		mustLoad(t, quiet(site(port, versioned(v))))
		expectAnswer(t, c, "version", fmt.Sprintf("[%d]", v))
	}
	for v := range 5 {
		reload(v + 1)
	}
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	for v := range 20 {
		reload(v + 6)
	}
	settle(t, "old generations", func() bool {
		runtime.GC()
		for i := range old {
			if old[i].Value() != nil || policies[i].Value() != nil {
				return false
			}
		}
		return true
	})
	// The engine's few workers come as they are needed, at any time.
	settle(t, "goroutines", func() bool { return runtime.NumGoroutine() < goroutines+5 })
	if now := heapInUse(); now > heap+2<<20 {
		t.Errorf("the heap grew from %d to %d bytes", heap, now)
	}
}

// inForce is the only generation of a hub.
func inForce(t *testing.T, name string) *generation {
	t.Helper()
	i := instanceOf(t, name)
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.live) != 1 {
		t.Fatalf("%d generations are live, want 1", len(i.live))
	}
	return i.live[0]
}

// instanceOf is the hub of that name that a config has.
func instanceOf(t *testing.T, name string) *instance {
	t.Helper()
	i, err := acquireInstance(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := instances.Delete(name); err != nil {
		t.Fatal(err)
	}
	return i
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// settle waits for something that Caddy finishes in the background.
func settle(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%s did not settle\n%s", what, stacks[:runtime.Stack(stacks, true)])
		}
		runtime.Gosched()
	}
}
