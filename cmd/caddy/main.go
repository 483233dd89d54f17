// Command caddy is Caddy with this module: what xcaddy would build, in a
// module of its own that pins every dependency. It is for development, tests
// and CI; see xcaddy.sh.
package main

import (
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-realtime/realtime"
)

func main() { caddycmd.Main() }
