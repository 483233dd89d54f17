package realtime

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// once refuses options that are given twice in one block: option → line.
type once map[string]int

func (o once) add(d *caddyfile.Dispenser) error {
	name := d.Val()
	switch name {
	case "use", "on", "namespace": // these add up
		return nil
	}
	if line, ok := o[name]; ok {
		return d.Errf("%s is already set in line %d", name, line)
	}
	o[name] = d.Line()
	return nil
}

// The following take the arguments of the present option.

func oneArg(d *caddyfile.Dispenser, dst *string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Errf("%s takes one argument", name)
	}
	*dst = args[0]
	return nil
}

func someArgs(d *caddyfile.Dispenser, dst *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s takes at least one argument", name)
	}
	*dst = args
	return nil
}

func noArg(d *caddyfile.Dispenser, dst *bool) error {
	name := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes no argument", name)
	}
	*dst = true
	return nil
}

func sizeArg(d *caddyfile.Dispenser, dst *int) error {
	name := d.Val()
	var arg string
	err := oneArg(d, &arg)
	if err != nil {
		return err
	}
	if *dst, err = size(arg); err != nil {
		return d.Errf("%s: %w", name, err)
	}
	return nil
}

// durationArg reads the one argument of an option, a duration that may be 0.
func durationArg(d *caddyfile.Dispenser, dst *caddy.Duration) error {
	name := d.Val()
	var arg string
	if err := oneArg(d, &arg); err != nil {
		return err
	}
	v, err := caddy.ParseDuration(arg)
	if err != nil || v < 0 {
		return d.Errf("%s: %q is no duration such as 10s", name, arg)
	}
	*dst = caddy.Duration(v)
	return nil
}

// checked adds to err, that of reading an option, what check finds, with the
// present line.
func checked(d *caddyfile.Dispenser, err error, check func() error) error {
	if err != nil {
		return err
	}
	if err := check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// rateArgs reads `<n>/s [burst <n>]`, or off; amount reads an n.
func rateArgs(args []string, amount func(string) (int, error)) (r Rate, err error) {
	if len(args) == 1 && args[0] == "off" {
		return Rate{PerSecond: noLimit}, nil
	}
	if len(args) != 1 && (len(args) != 3 || args[1] != "burst") {
		return r, errors.New("it takes a rate such as 100/s, and maybe: burst 200")
	}
	n, ok := strings.CutSuffix(args[0], "/s")
	if !ok {
		return r, fmt.Errorf("%q is no rate such as 100/s", args[0])
	}
	if r.PerSecond, err = amount(n); err != nil {
		return r, err
	}
	if len(args) == 3 {
		r.Burst, err = amount(args[2])
	}
	return r, err
}

// duration is a positive one; days are "1d".
func duration(s string) (caddy.Duration, error) {
	v, err := caddy.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no duration such as 25s", s)
	case v <= 0:
		return 0, fmt.Errorf("duration %q is not positive", s)
	}
	return caddy.Duration(v), nil
}

// maxAmount is what JSON, into which Caddy translates a Caddyfile, carries as
// it is. No machine has as much.
const maxAmount = min(1<<53, math.MaxInt)

// size is a positive number of bytes; 1MB is 1,000,000 of them, 1MiB 1,048,576.
func size(s string) (int, error) {
	n, err := humanize.ParseBytes(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no size such as 1MB", s)
	case n > maxAmount:
		return 0, fmt.Errorf("%q is too much", s)
	case n == 0:
		return 0, errors.New("the size is 0")
	}
	return int(n), nil
}

const noLimit = -1 // of the fields of Limits

func sizeOrOff(s string) (int, error) {
	if s == "off" {
		return noLimit, nil
	}
	return size(s)
}

func durationOrOff(s string) (caddy.Duration, error) {
	if s == "off" {
		return noLimit, nil
	}
	return duration(s)
}

// count is a positive number, or off.
func count(s string) (int, error) {
	if s == "off" {
		return noLimit, nil
	}
	return positive(s)
}

func positive(s string) (int, error) {
	n, err := strconv.Atoi(s)
	switch {
	case n > maxAmount: // also what is out of range
		return 0, fmt.Errorf("%q is too much", s)
	case err != nil || n <= 0:
		return 0, fmt.Errorf("%q is no positive number", s)
	}
	return n, nil
}
