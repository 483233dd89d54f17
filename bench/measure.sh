#!/usr/bin/env bash
# Measures what docs/performance.md reports, writes it to bench/data and renews
# the page's tables and plot. It builds all that it needs from the registries of
# Go and npm. Linux, two cores: the server runs on core 0, its clients on core 1,
# nothing else should run.
#
#   bench/measure.sh [quick] [<section>…]
#
#   sections  room8 room1 rooms ack latency idle connect   against the peers
#             members connections joined                   growth
#             options slow                                 costs of options; a member that stops reading
#   quick     one short round of each, 4 minutes; else 3 rounds, under 20
#   CADDY     the binary to measure; default ./caddy, which ./xcaddy.sh builds
#   ROUNDS, DURATION, BUILD   rounds, measured time of a run ("2500ms"), directory for what is built
set -euo pipefail
cd "$(dirname "$0")/.."
here=bench

rounds=3 duration=2500ms settle=1s
if [ "${1:-}" = quick ]; then
	rounds=1 duration=1500ms settle=500ms
	shift
fi
rounds=${ROUNDS:-$rounds} duration=${DURATION:-$duration}
build=${BUILD:-${TMPDIR:-/tmp}/realtime-bench}
caddy=$(realpath "${CADDY:-caddy}")
sections=${*:-room8 room1 rooms ack latency idle connect members connections joined options slow}

die() {
	echo "measure.sh: $*" >&2
	exit 1
}

[ -x "$caddy" ] || die "no binary $caddy; build it with ./xcaddy.sh"
ulimit -n "$(ulimit -Hn)"
[ "$(ulimit -n)" -ge 16000 ] || die "the limit of descriptors ($(ulimit -n)) is below 16000"

prepare() {
	mkdir -p "$build" "$here/data"
	go build -o "$build/" ./bench/load ./bench/floor ./bench/transports
	go -C bench/peers/centrifuge build -o "$build/centrifuge" .
	go -C bench/peers/gws build -o "$build/gws" .
	npm ci --prefix bench/peers/node --silent --no-fund --no-audit
}

secret=$(head -c 24 /dev/urandom | base64)
pid=""
stop() {
	[ -n "$pid" ] || return 0
	kill "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	pid=""
}
trap stop EXIT

# start <server> runs it alone on core 0, and sets port and protocol.
start() {
	local command
	protocol=socketio
	case $1 in
	floor) port=3009 command=("$build/floor" -addr 127.0.0.1:3009) ;;
	floor1) port=3010 command=("$build/floor" -addr 127.0.0.1:3010 -gather=false) ;;
	centrifuge) port=3011 protocol=centrifuge command=("$build/centrifuge" -addr 127.0.0.1:3011) ;;
	node) port=3012 command=(node bench/peers/node/server.js 127.0.0.1:3012) ;;
	gws) port=3013 command=("$build/gws" -addr 127.0.0.1:3013) ;;
	ours) port=3014 command=("$caddy" run --config bench/bench.Caddyfile) ;;
	plain) port=3014 protocol=plain command=("$caddy" run --config bench/bench.Caddyfile) ;;
	require) port=3015 command=("$caddy" run --config bench/require.Caddyfile) ;;
	options) port=18081 command=(env JWT_SECRET="$secret" "$caddy" run --config bench/options.Caddyfile) ;;
	*) die "unknown server $1" ;;
	esac
	PORT="$port" GOMAXPROCS=1 XDG_DATA_HOME="$build" XDG_CONFIG_HOME="$build" \
		taskset -c 0 "${command[@]}" >"$build/$1.log" 2>&1 &
	pid=$!
	for _ in $(seq 100); do
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
		sleep 0.1
	done
	die "$1 does not listen: $(cat "$build/$1.log")"
}

# take <case> <server> <round> <command…> runs the command on core 1, adds a
# line for each figure of the JSON object that it prints, and stops the server.
take() {
	local prefix=$1,$2,$3
	shift 3
	taskset -c 1 "$@" -pid "$pid" -duration "$duration" >"$build/result" 2>"$build/error" ||
		die "$prefix: $(cat "$build/error")"
	stop
	tr -d '{}"' <"$build/result" | tr , '\n' |
		awk -F: -v p="$prefix" 'NF == 2 { print p "," $1 "," $2 }' >>"$out"
	echo "$section $prefix" >&2
}

# load <case> <server> <flag…> starts a server and puts load on it.
load() {
	local case=$1 server=$2
	shift 2
	start "$server"
	take "$case" "$server" "$round" "$build/load" -addr "127.0.0.1:$port" -protocol "$protocol" -settle "$settle" "$@"
}

each() { # <servers> <flag…>: the section's load on each of them
	local servers=$1 server
	shift
	for server in $servers; do
		load "$section" "$server" "$@"
	done
}

# option <case> <flag…> does the same with bench/transports.
option() {
	local case=$1
	shift
	start options
	take "$case" ours "$round" "$build/transports" "$@"
}

token() {
	JWT_SECRET=$secret node -e '
		const part = (o) => Buffer.from(JSON.stringify(o)).toString("base64url");
		const body = part({ alg: "HS256", typ: "JWT" }) + "." + part({ sub: "ann", exp: 4102444800 });
		console.log(body + "." + require("crypto").createHmac("sha256", process.env.JWT_SECRET).update(body).digest("base64url"));'
}

peers="floor floor1 gws centrifuge node ours"

measure() {
	local n
	case $section in
	room8) each "$peers" -work fanout -connections 1000 -window 8 ;;
	room1) each "$peers" -work fanout -connections 1000 -window 1 ;;
	rooms) each "$peers" -work fanout -connections 5000 -rooms 500 -senders 500 -window 2 ;;
	ack) each "floor floor1 gws node ours plain require" -work ack -connections 100 -window 1 ;;
	latency) each "$peers" -work latency -connections 1000 -rate 20 ;;
	idle) each "floor gws centrifuge node ours" -work idle -connections 10000 -rooms 1000 ;;
	connect) each "floor gws centrifuge node ours" -work connect ;;
	members)
		for n in 10 100 1000 10000; do
			load "$n" floor -work fanout -connections "$n" -window 8
			load "$n" ours -work fanout -connections "$n" -window 8
		done
		;;
	connections)
		for n in 1000 5000 15000; do
			load "$n" ours -work idle -connections "$n" -rooms $((n / 10))
		done
		;;
	joined) joined ;;
	options)
		option plain -url http://127.0.0.1:18081
		option tls -url https://127.0.0.1:18082
		option jwt -url http://127.0.0.1:18084 -token "$(token)"
		option recovery -url http://127.0.0.1:18085
		option polling -url http://127.0.0.1:18081 -transport polling
		option plain-2k -url http://127.0.0.1:18081 -size 2048
		option compression-2k -url http://127.0.0.1:18083 -size 2048 -compress
		;;
	slow)
		local duration=6s
		for n in 0 1; do
			option "$n" -url http://127.0.0.1:18081 -n 1000 -stopped "$n" -rate 20 -size 1024
		done
		;;
	*) die "unknown section $section" ;;
	esac
}

# joined takes its figures from Go's benchmarks: the load generator has each
# connection join one room.
joined() {
	taskset -c 1 go test -run '^$' -bench 'Joined' -cpu 1 -benchtime 300ms ./hub |
		awk -v round="$round" '/^Benchmark/ {
			sub(/^BenchmarkJoined\//, "", $1)
			for (i = 3; i < NF; i += 2) print $1 ",hub," round "," $(i + 1) "," $i
		}' >>"$out"
}

describe() {
	printf 'key,value\n'
	printf 'date,%s\n' "$(date -u +%F)"
	printf 'cpu,%s\n' "$(sed -n 's/^model name.*: *//p' /proc/cpuinfo | head -1), $(nproc) cores"
	printf 'system,%s\n' "$(uname -sr)"
	printf 'go,%s\n' "$(go env GOVERSION)"
	printf 'node,%s\n' "$(node -v)"
	printf 'commit,%s\n' "$(git rev-parse --short HEAD)"
	printf 'rounds,%s of %s\n' "$rounds" "$duration"
}

prepare
describe >"$here/data/machine.csv"
for section in $sections; do
	out=$build/$section.csv
	echo "case,server,round,metric,value" >"$out"
	for round in $(seq "$rounds"); do
		measure
	done
	mv "$out" "$here/data/$section.csv"
done
node "$here/tables.mjs"
node "$here/plot.mjs"
