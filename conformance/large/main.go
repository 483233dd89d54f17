//go:build linux

// Command large runs the tests that are too big for test.sh: thousands of
// clients, a server on one core, minutes. Each starts Caddy itself, on the
// loopback, prints what it saw beside the bound that it holds the server to,
// and ends by itself; the exit status tells whether all bounds were kept.
//
//	go run ./conformance/large [flags] <test>…
//
// The server runs on the first core and everything else on the second, so that
// figures mean the same on every machine; times want a machine that does
// nothing else. No process opens more than 19,000 descriptors.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// test is one of them. It returns an error if it could not be carried out;
// what the server got wrong is noted by trial.check.
type test struct {
	name, about string
	run         func(context.Context, *trial) error
}

var tests = []test{
	{"reconnect", "15,000 clients come back after a SIGKILL", reconnect},
	{"reconnect-tls", "the same over TLS", reconnectTLS},
	{"descriptors", "5,000 clients and 2,000 descriptors: the site beside is served", descriptors},
	{"memory", "clients that do not read or do not finish, and a ceiling of 512 MiB", memory},
	{"presence", "one of 10,000 members flaps", flapping},
	{"abusers", "an abuser of each kind beside 1,000 honest clients", abusers},
	{"namespaces", "100,000 names on a namespace by regexp", namespaces},
	{"updates", "the preset updates, from 1,000 clients at full rate", updates},
	{"dedupe", "50,000 keys of dedupe", dedupe},
	{"slow", "100 of 1,000 members stop reading", slow},
	{"lost", "what 400 lost sockets keep for recovery", lost},
	{"trickle", "500 clients POST a byte every ten seconds", trickle},
}

// options are what the flags say.
type options struct {
	caddy    string
	duration time.Duration
	kinds    []string
}

func main() {
	var o options
	flag.StringVar(&o.caddy, "caddy", "./caddy", "the server, as ./xcaddy.sh builds it")
	flag.DurationVar(&o.duration, "duration", 0, "how long memory holds on, or an abuser is at it; default: each its own")
	flag.Func("abuser", "only abusers of this `kind`; may be given several times", func(kind string) error {
		o.kinds = append(o.kinds, kind)
		return nil
	})
	flag.Usage = help
	flag.Parse()
	if flag.Arg(0) == "abuse" {
		exitOn(abuse(flag.Args()[1:]))
		return
	}
	if flag.NArg() == 0 {
		help()
		os.Exit(2)
	}
	exitOn(pin())
	runtime.LockOSThread() // the server ends with the thread that started it: see boot
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed := false
	for _, name := range flag.Args() {
		ok, err := runTest(ctx, &o, name)
		exitOn(err)
		failed = failed || !ok
	}
	if failed {
		os.Exit(1)
	}
}

func help() {
	fmt.Fprintln(os.Stderr, "usage: large [flags] <test>…")
	flag.PrintDefaults()
	for _, t := range tests {
		fmt.Fprintf(os.Stderr, "  %-14s %s\n", t.name, t.about)
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "large:", err)
		os.Exit(1)
	}
}

func runTest(ctx context.Context, o *options, name string) (ok bool, err error) {
	for _, t := range tests {
		if t.name != name {
			continue
		}
		fmt.Printf("== %s: %s\n", t.name, t.about)
		tr := &trial{options: o}
		began := time.Now()
		err := t.run(ctx, tr)
		if err == nil && ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		tr.say("took %.0f s", time.Since(began).Seconds())
		return !tr.failed, nil
	}
	return false, fmt.Errorf("no test %q", name)
}

// trial is a test that is being run. It belongs to one goroutine.
type trial struct {
	*options
	failed bool
}

// check notes whether a bound was kept.
func (t *trial) check(ok bool, format string, args ...any) {
	verdict := "ok  "
	if !ok {
		verdict, t.failed = "FAIL", true
	}
	fmt.Printf("%s %s\n", verdict, fmt.Sprintf(format, args...))
}

// say prints a figure that no bound is set to.
func (t *trial) say(format string, args ...any) {
	fmt.Printf("     %s\n", fmt.Sprintf(format, args...))
}

const (
	serverCore = "0"
	clientCore = "1"
)

// pin keeps this process on a core that is not the server's.
func pin() error {
	if runtime.NumCPU() < 2 {
		return fmt.Errorf("one core for the server and one for the clients are needed")
	}
	runtime.GOMAXPROCS(1)
	out, err := exec.Command("taskset", "-a", "-c", "-p", clientCore, strconv.Itoa(os.Getpid())).CombinedOutput()
	if err != nil {
		return fmt.Errorf("taskset: %w: %s", err, out)
	}
	return nil
}

// until asks done every 20 ms; false when it was not for limit or ctx ended.
func until(ctx context.Context, limit time.Duration, done func() bool) bool {
	end := time.Now().Add(limit)
	for !done() {
		if time.Now().After(end) || !sleep(ctx, 20*time.Millisecond) {
			return false
		}
	}
	return true
}

// sleep is false if ctx ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
