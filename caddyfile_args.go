package realtime

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddy-realtime/realtime/rules"
)

// block reads the block that the present line may open: option takes one line.
// An option that stands in it twice is an error, unless it adds to the first.
func block(d *caddyfile.Dispenser, option func(*caddyfile.Dispenser) error) error {
	places := map[string]string{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch name := d.Val(); name {
		case "use", "on", "namespace": // these add up
		default:
			if at, ok := places[name]; ok {
				return d.Errf("%s is already set at %s", name, at)
			}
			places[name] = place(d)
		}
		if err := option(d); err != nil {
			return err
		}
	}
	return nil
}

// The following take the arguments of the present option.

// oneArg takes an argument that is taken as it is written.
func oneArg(d *caddyfile.Dispenser, dst *string) error {
	name := d.Val()
	if err := replacedArg(d, dst); err != nil {
		return err
	}
	return checkLiteral(d, name, *dst)
}

// replacedArg takes an argument whose placeholders are replaced later.
func replacedArg(d *caddyfile.Dispenser, dst *string) error {
	name := d.Val()
	switch args := d.RemainingArgs(); {
	case len(args) == 0 || len(args) == 1 && args[0] == "":
		return d.Errf("%s: its argument is missing", name)
	case len(args) > 1:
		return d.Errf("%s takes one argument, not %d", name, len(args))
	default:
		*dst = args[0]
		return nil
	}
}

// someArgs takes arguments that are taken as they are written.
func someArgs(d *caddyfile.Dispenser, dst *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s: its arguments are missing", name)
	}
	*dst = args
	return checkLiteral(d, name, args...)
}

// placeholder is what Caddy replaces where an option lets it. Regular
// expressions and routes have braces, too, but no dots behind a word in them.
var placeholder = regexp.MustCompile(`\{([a-z_]+)\.([^{}\s]+)\}`)

// checkLiteral refuses what cannot be meant: placeholders, which would stay as
// they are, and the braces, brackets and commas of other languages.
func checkLiteral(d *caddyfile.Dispenser, name string, args ...string) error {
	for _, arg := range args {
		if bare, ok := strings.CutSuffix(arg, "{"); ok && bare != "" {
			return d.Errf("%s: put a space before the brace: %s {", name, bare)
		}
		if strings.HasPrefix(arg, "[") || strings.HasSuffix(arg, ",") {
			return d.Errf("%s: unexpected %q; separate values by spaces, without brackets and commas", name, arg)
		}
		found := placeholder.FindStringSubmatch(arg)
		switch {
		case found == nil:
		case found[1] == "env":
			return d.Errf("%s: %s is not replaced here; write {$%s}, which Caddy replaces when it reads the Caddyfile", name, found[0], found[2])
		default:
			return d.Errf("%s: %s is not replaced here; write the value itself", name, found[0])
		}
	}
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
	if arg == "0" || arg == "0s" {
		*dst = 0
		return nil
	}
	v, err := duration(arg)
	if err != nil {
		return d.Errf("%s: %w", name, err)
	}
	*dst = v
	return nil
}

// checked returns err, which reading an option gave, or else what check finds, with
// the present line.
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
		return r, errors.New("write the rate as 100/s, optionally followed by: burst 200")
	}
	n, ok := strings.CutSuffix(args[0], "/s")
	if !ok {
		return r, fmt.Errorf("%q is not a rate per second; write it as 100/s", args[0])
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
	switch _, number := strconv.Atoi(s); {
	case err != nil && number == nil:
		return 0, rules.NoUnit(s)
	case err != nil:
		return 0, fmt.Errorf("%q is not a duration; write it as 500ms, 25s, 2m, 1h or 1d", s)
	case v <= 0:
		return 0, fmt.Errorf("the duration %q must be greater than 0", s)
	}
	return caddy.Duration(v), nil
}

// nanoseconds are those of a positive duration.
func nanoseconds(s string) (int, error) {
	v, err := duration(s)
	return int(v), err
}

// maxAmount is what JSON, into which Caddy translates a Caddyfile, carries as
// it is. No machine has as much.
const maxAmount = min(1<<53, math.MaxInt)

// size is a positive number of bytes; 1MB is 1,000,000 of them, 1MiB 1,048,576.
func size(s string) (int, error) {
	n, err := humanize.ParseBytes(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a size; write it as 64KB, 1MB or 1GB", s)
	case n > maxAmount:
		return 0, fmt.Errorf("%q is too large", s)
	case n == 0:
		return 0, errors.New("the size must be greater than 0")
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
		return 0, fmt.Errorf("%q is too large", s)
	case err != nil || n <= 0:
		return 0, fmt.Errorf("%q is not a whole number greater than 0", s)
	}
	return n, nil
}
