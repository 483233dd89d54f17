package realtime

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gorilla/websocket"
)

// With this variable the test binary is a Caddy that runs the named Caddyfile
// until a signal ends it: caddy.Exiting cannot be undone.
const runVariable = "REALTIME_TEST_RUN"

func TestMain(m *testing.M) {
	if path := os.Getenv(runVariable); path != "" {
		fmt.Fprintln(os.Stderr, runCaddy(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runCaddy returns only if the config cannot be loaded.
func runCaddy(path string) error {
	caddyfile, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	config, err := adapt(caddyfile)
	if err != nil {
		return err
	}
	caddy.TrapSignals()
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

// SIGTERM ends the process at once although polls wait (http's Stop would wait
// for them) and WebSockets are open (nobody would tell them).
func TestExitWithWaitingPolls(t *testing.T) {
	port := freePort(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), runVariable+"="+writeFile(t, "Caddyfile", quiet(site(port, versioned(1)))))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	if _, err := stdout.Read(make([]byte, 64)); err != nil {
		t.Fatalf("not ready: %v %s", err, &stderr)
	}

	ends := make(chan error, 20)
	for i := range cap(ends) {
		dial := dialers["polling"]
		if i%2 == 0 {
			dial = dialers["websocket"]
		}
		c := dial(t, port)
		join(t, c, "")
		go func() {
			packet, err := next(c)
			// A client that was just not polling gets a noop first, or comes
			// when its session or the listener is gone. None may hang.
			switch {
			case websocket.IsCloseError(err, websocket.CloseGoingAway), packet == "1", packet == "6":
				err = nil
			case err != nil && strings.Contains(err.Error(), "Session ID unknown"), errors.Is(err, syscall.ECONNREFUSED):
				err = nil
			default:
				err = fmt.Errorf("a client saw %q, %w", packet, err)
			}
			ends <- err
		}()
	}
	start := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if took := time.Since(start); err != nil || took > 20*time.Second { // a ping ends a poll after 25 s
		t.Errorf("exit after %v: %v %s", took, err, &stderr)
	}
	for range cap(ends) {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
}
