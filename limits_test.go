package realtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Who a client is to the limits per address is Caddy's client_ip.
func TestClientAddressIsCaddysClientIP(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	config := func(port int, options string) string {
		return fmt.Sprintf("{%s%s\nlog {\n output file %s\n}\n}\n", globalOptions, options, log) +
			site(port, "realtime {\n limits {\n connections_per_ip 1\n }\n}")
	}
	from := func(port int, ip string) int {
		t.Helper()
		status, _, _ := get(t, port, "/socket.io/"+handshake, "X-Forwarded-For", ip)
		return status
	}

	port := freePort(t)
	mustLoad(t, config(port, "servers {\n trusted_proxies static 127.0.0.1/32\n }"))
	for _, ip := range []string{"203.0.113.1", "203.0.113.2", "2001:db8::1", "10.0.0.1"} {
		if status := from(port, ip); status != 200 {
			t.Errorf("%s: got %d", ip, status)
		}
		if status := from(port, ip); status != 503 {
			t.Errorf("%s again: got %d", ip, status)
		}
	}
	if status := from(port, "2001:db8::2"); status != 503 {
		t.Errorf("another address of the same network: got %d", status)
	}
	if warnings := warnings(t, log); warnings != 0 {
		t.Errorf("%d warnings with trusted proxies", warnings)
	}

	// What nobody trustworthy says counts for nothing: the address is a
	// loopback one, and exempt.
	port = freePort(t)
	mustLoad(t, config(port, ""))
	for range 3 {
		if status := from(port, "203.0.113.1"); status != 200 {
			t.Errorf("without trusted proxies: got %d", status)
		}
	}
	if warnings := warnings(t, log); warnings != 1 {
		t.Errorf("%d warnings of exempt addresses", warnings)
	}
}

func warnings(t *testing.T, log string) int {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(text), "trusted_proxies")
}
