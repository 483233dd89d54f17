//go:build linux

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a Caddy on the first core. In its Caddyfile {$ADMIN}, {$PORT} and
// {$SITE} are free ports of the loopback.
type server struct {
	caddy string
	env   []string // more of the environment
	files int      // descriptors that it may open; 0: as many as this process
	proxy bool     // X-Forwarded-For is believed

	dir   string
	ports map[string]string
	cmd   *exec.Cmd
}

// globals begin each Caddyfile.
const globals = `
	admin 127.0.0.1:{$ADMIN}
	persist_config off
	skip_install_trust
	default_bind 127.0.0.1
	auto_https disable_redirects
`

// start runs a server. The caller must call stop.
func (t *trial) start(config string, more ...func(*server)) (*server, error) {
	s := &server{caddy: t.caddy, ports: map[string]string{}}
	for _, f := range more {
		f(s)
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "realtime-large-"); err != nil {
		return nil, err
	}
	if err = s.prepare(config); err == nil {
		err = s.boot()
	}
	if err != nil {
		_ = os.RemoveAll(s.dir) // it is only litter
		return nil, err
	}
	return s, nil
}

func withEnv(env ...string) func(*server)   { return func(s *server) { s.env = env } }
func withFiles(limit int) func(*server)     { return func(s *server) { s.files = limit } }
func behindProxy(s *server)                 { s.proxy = true }
func (s *server) addr(port string) string   { return "127.0.0.1:" + s.ports[port] }
func (s *server) target() target            { return target{addr: s.addr("PORT")} }
func (s *server) url(port, p string) string { return "http://" + s.addr(port) + p }

func (s *server) prepare(config string) error {
	for _, name := range []string{"ADMIN", "PORT", "SITE"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		_, s.ports[name], _ = net.SplitHostPort(l.Addr().String())
		if err := l.Close(); err != nil {
			return err
		}
		s.env = append(s.env, name+"="+s.ports[name])
	}
	for _, dir := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		s.env = append(s.env, dir+"="+s.dir)
	}
	return os.WriteFile(s.file("Caddyfile"), s.text(config), 0o600)
}

// text is the whole Caddyfile.
func (s *server) text(config string) []byte {
	trusted := ""
	if s.proxy {
		trusted = "	servers {\n		trusted_proxies static 127.0.0.1/32\n	}\n"
	}
	return []byte("{" + globals + trusted + "}\n" + config)
}

// reload makes the server follow another Caddyfile.
func (s *server) reload(config string) error {
	resp, err := http.Post(s.url("ADMIN", "/load"), "text/caddyfile", bytes.NewReader(s.text(config)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("reload: %s: %s", resp.Status, answer)
	}
	return err
}

func (s *server) file(name string) string { return filepath.Join(s.dir, name) }

// boot starts the process and waits until it listens; start does, and again
// after kill.
func (s *server) boot() error {
	log, err := os.OpenFile(s.file("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	files := "true"
	if s.files > 0 {
		files = fmt.Sprintf("ulimit -n %d", s.files)
	}
	s.cmd = exec.Command("sh", "-c", files+` && exec taskset -c `+serverCore+` "$@"`, "sh",
		s.caddy, "run", "--config", s.file("Caddyfile"), "--adapter", "caddyfile")
	s.cmd.Env = append(append(os.Environ(), "GOMAXPROCS=1"), s.env...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // however this process ends
	if err := s.cmd.Start(); err != nil {
		return err
	}
	if until(context.Background(), 20*time.Second, s.listens) {
		return nil
	}
	text, err := os.ReadFile(s.file("log"))
	return errors.Join(fmt.Errorf("the server does not listen: …%s", text[max(len(text)-2000, 0):]), err, s.kill())
}

func (s *server) listens() bool {
	c, err := net.Dial("tcp", s.addr("PORT"))
	return err == nil && c.Close() == nil
}

// kill ends the process without a word.
func (s *server) kill() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	if err := s.cmd.Wait(); !errors.As(err, new(*exec.ExitError)) {
		return err
	}
	return nil
}

// stop ends the server, checks that its log tells of no panic, and removes
// what it left.
func (s *server) stop(t *trial) {
	log, err := os.ReadFile(s.file("log"))
	t.check(err == nil && !fault.Match(log), "no panic in the log")
	if line := fault.Find(log); line != nil {
		t.say("%s", line)
	}
	if err := s.kill(); err != nil {
		t.check(false, "stopping the server: %v", err)
	}
	_ = os.RemoveAll(s.dir) // it is only litter
}

var fault = regexp.MustCompile(`(?m)^.*(panic|fatal error|goroutine \d+ \[).*$`)

// usage is what the operating system charges to the server.
type usage struct {
	cpu      time.Duration
	resident int64 // bytes
}

// proc is what the operating system tells of the process.
func (s *server) proc(name string) string { return fmt.Sprintf("/proc/%d/%s", s.cmd.Process.Pid, name) }

const tick = 10 * time.Millisecond // of /proc on Linux

func (s *server) usage() (usage, error) {
	stat, err := os.ReadFile(s.proc("stat"))
	if err != nil {
		return usage{}, err
	}
	// utime, stime and rss are the 14th, 15th and 24th; the 2nd, in brackets,
	// may have spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	pages, err3 := strconv.ParseInt(fields[21], 10, 64)
	u := usage{time.Duration(user+system) * tick, pages * int64(os.Getpagesize())}
	return u, errors.Join(err1, err2, err3)
}

// metric adds up the series whose text begins with the prefix, which may end
// with a part of the labels.
func (s *server) metric(prefix string) (float64, error) {
	body, err := fetch(s.url("ADMIN", "/metrics"))
	sum := 0.0
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "caddy_realtime_"+prefix) {
			continue
		}
		value, err1 := strconv.ParseFloat(line[strings.LastIndexByte(strings.TrimSpace(line), ' ')+1:len(line)-1], 64)
		sum, err = sum+value, cmp.Or(err, err1)
	}
	return sum, err
}

// figures are the live heap, after a collection, and the number of goroutines.
func (s *server) figures() (heap, goroutines int64, err error) {
	number := func(path, pattern string) (n int64, err error) {
		body, err := fetch(s.url("ADMIN", "/debug/pprof/"+path))
		if m := regexp.MustCompile(pattern).FindStringSubmatch(body); m != nil {
			return strconv.ParseInt(m[1], 10, 64)
		}
		return 0, cmp.Or(err, fmt.Errorf("no figure in %s", path))
	}
	heap, err1 := number("heap?gc=1&debug=1", `# HeapAlloc = (\d+)`)
	goroutines, err2 := number("goroutine?debug=1", `total (\d+)`)
	return heap, goroutines, errors.Join(err1, err2)
}

func fetch(url string) (string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(bufio.NewReader(resp.Body))
	return string(body), err
}
