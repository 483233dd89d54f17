#!/bin/sh
# Builds ./caddy: Caddy with this module.
#
#   ./xcaddy.sh          with the pinned xcaddy, from this checkout: what users build
#   ./xcaddy.sh dev      the same from cmd/caddy, whose go.mod pins every
#                        dependency: seconds after an edit, for work and tests
#                        (go.mod changed? then `go -C cmd/caddy mod tidy`)
#   ./xcaddy.sh run      builds as the first, then serves examples/Caddyfile on
#                        http://localhost:8080, with a secret of its own for
#                        the tokens unless JWT_SECRET is set
#
# All of them compile with the same flags, tags and environment and so share
# one build cache. The first build compiles Caddy and takes several minutes (8
# on 2 cores); later ones take seconds, plus what xcaddy needs to ask the
# module proxy. Nothing is fetched from anywhere but the Go module proxy, and
# for `run` the npm registry.
set -eu
cd "$(dirname "$0")"

caddy_version=v2.11.9
module=github.com/caddy-realtime/realtime
tags=nobadger,nomysql,nopgx

# xcaddy builds without cgo; with it, nothing of the cache would be shared.
export CGO_ENABLED=0

# progress shows every 50th of the package names that `go build -v` prints, and
# all other lines.
progress() {
	n=0
	while IFS= read -r line; do
		case $line in
		*" "* | "") printf '%s\n' "$line" ;;
		*)
			n=$((n + 1))
			[ $((n % 50)) -ne 0 ] || printf '  … %d packages compiled, now %s\n' "$n" "$line"
			;;
		esac
	done
}

# with_progress runs a command and returns its status, which a pipe would lose.
with_progress() {
	status=$(mktemp)
	{
		"$@" 2>&1 && echo 0 >"$status" || echo $? >"$status"
	} | progress
	code=$(cat "$status")
	rm -f "$status"
	return "$code"
}

build() {
	echo "Building ./caddy $caddy_version with xcaddy. The first time this takes several minutes."
	mkdir -p .tools
	(cd tools && go build -o ../.tools/ github.com/caddyserver/xcaddy/cmd/xcaddy)
	XCADDY_GO_BUILD_FLAGS="-v -trimpath -tags $tags -ldflags '-w -s'" \
		with_progress .tools/xcaddy build "$caddy_version" --with "$module@v0.0.0=." --output caddy
}

dev() {
	echo "Building ./caddy from cmd/caddy. The first time this takes several minutes."
	with_progress go -C cmd/caddy build -v -trimpath -tags "$tags" -ldflags '-w -s' -o ../../caddy .
}

serve() {
	if [ ! -d examples/node_modules/socket.io-client/dist ]; then
		echo "Installing the stock socket.io-client for the page to load."
		(cd examples && npm ci --no-audit --no-fund)
	fi
	: "${JWT_SECRET:=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}"
	export JWT_SECRET
	examples/login.sh
	echo "Serving examples/Caddyfile on http://localhost:8080. Open it in two tabs; Ctrl-C ends it."
	exec ./caddy run --config examples/Caddyfile --adapter caddyfile
}

case ${1:-build} in
build) build ;;
dev) dev ;;
run) build && serve ;;
*)
	sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p;}' "$0" >&2
	exit 2
	;;
esac
