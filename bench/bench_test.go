//go:build linux

// Package bench holds the programs that docs/performance.md is measured with.
package bench

import (
	"bufio"
	"encoding/json"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// The load generator and the floor speak the same protocol: all work is done,
// and nothing that was sent is lost.
func TestLoadLosesNothingOnTheFloor(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir, "./load", "./floor").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, gather := range []bool{true, false} {
		addr, pid := startFloor(t, filepath.Join(dir, "floor"), gather)
		for work, figure := range map[string]string{
			"fanout": "deliveries_per_s", "latency": "latency_ms_p99", "ack": "acks_per_s",
			"idle": "mem_bytes_per_conn", "connect": "connects_per_s",
		} {
			out, err := exec.Command(filepath.Join(dir, "load"), "-addr", addr, "-pid", pid, "-work", work, "-connections", "60",
				"-rooms", "7", "-senders", "7", "-rate", "200", "-duration", "100ms", "-settle", "0s").Output()
			if err != nil {
				t.Fatalf("%s: %v %s", work, err, err.(*exec.ExitError).Stderr)
			}
			var figures map[string]float64
			if err := json.Unmarshal(out, &figures); err != nil {
				t.Fatalf("%s: %v: %s", work, err, out)
			}
			if _, ok := figures[figure]; !ok || figures["lost"] != 0 || figures["closed_by_server"] != 0 {
				t.Errorf("%s, gathering %v: %v", work, gather, figures)
			}
		}
	}
}

func TestLoadRefusesOtherMachines(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:80", "example.com:80", "[2001:db8::1]:80"} {
		if out, err := exec.Command("go", "run", "./load", "-addr", addr).CombinedOutput(); err == nil {
			t.Errorf("load on %s: %s", addr, out)
		}
	}
}

// startFloor runs the floor until the test ends, on a port that is free now.
func startFloor(t *testing.T, program string, gather bool) (addr, pid string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	cmd := exec.Command(program, "-addr", addr, "-gather="+strconv.FormatBool(gather))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 500 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr, strconv.Itoa(cmd.Process.Pid)
		}
		time.Sleep(10 * time.Millisecond)
	}
	line, _ := bufio.NewReader(stderr).ReadString('\n')
	t.Fatalf("the floor does not listen: %s", line)
	return "", ""
}
