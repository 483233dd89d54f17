package realtime

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/gzip"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/zstd"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
	_ "github.com/caddyserver/caddy/v2/modules/metrics"
)

// Caddy has one config per process: tests that load one do not run in
// parallel. It binds with SO_REUSEPORT, so that a port taken twice would go
// unnoticed: every test takes free ones. For a moment after a load, the old
// config still accepts connections; who wants the new one for sure takes a
// port that the old one did not have.

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// takenPort returns a port that Caddy cannot bind to: this listener does not
// share it.
func takenPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

const globalOptions = `
	admin off
	persist_config off
	auto_https off
`

// quiet is a config without logs whose sites are given.
func quiet(sites ...string) string {
	return "{" + globalOptions + "log {\n output discard\n }\n}\n" + strings.Join(sites, "\n")
}

// site is a site block on 127.0.0.1 that contains body.
func site(port int, body string) string {
	return fmt.Sprintf("http://127.0.0.1:%d {\n bind 127.0.0.1\n %s\n}\n", port, body)
}

// stopper is the test that will stop Caddy at its end: before that, the
// clients that it made are gone.
var stopper *testing.T

// load makes config, a Caddyfile, the process's config until the test ends.
func load(t *testing.T, config string) error {
	t.Helper()
	text, err := adapt([]byte(config))
	if err != nil {
		return err
	}
	if stopper != t {
		stopper = t
		t.Cleanup(func() {
			if err := caddy.Stop(); err != nil {
				t.Errorf("stopping: %v", err)
			}
		})
	}
	return caddy.Load(text, true)
}

func mustLoad(t *testing.T, config string) {
	t.Helper()
	if err := load(t, config); err != nil {
		t.Fatal(err)
	}
}

// validate does what `caddy validate` does.
func validate(t *testing.T, config string) error {
	t.Helper()
	text, err := adapt([]byte(config))
	if err != nil {
		return err
	}
	var c caddy.Config
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(&c)
}

// writeFile writes a file for the test and returns its path.
func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// joinConfigs makes one config of the servers of several Caddyfiles.
func joinConfigs(t *testing.T, caddyfiles ...string) *caddy.Config {
	t.Helper()
	var joined struct {
		Admin json.RawMessage `json:"admin"`
		Apps  struct {
			HTTP struct {
				Servers map[string]json.RawMessage `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	servers := map[string]json.RawMessage{}
	for i, caddyfile := range caddyfiles {
		text, err := adapt([]byte(caddyfile))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &joined); err != nil {
			t.Fatal(err)
		}
		for name, server := range joined.Apps.HTTP.Servers {
			servers[fmt.Sprint(name, "_", i)] = server
		}
		clear(joined.Apps.HTTP.Servers)
	}
	joined.Apps.HTTP.Servers = servers
	text, err := json.Marshal(joined)
	if err != nil {
		t.Fatal(err)
	}
	var config caddy.Config
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	return &config
}
