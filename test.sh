#!/usr/bin/env bash
# Installs what the tests need and runs them all: format, vet, staticcheck, Go
# tests under the race detector, a build by xcaddy, every example and every
# snippet of the documentation, and the conformance suites with the real
# client. Under 15 minutes on 2 cores with warm caches; the first run compiles
# Caddy twice and takes twice as long.
#
# Needs Go, a C compiler (for the race detector), Node 20 with npm, and
# Chromium, which it installs through the system's package manager. Nothing is
# skipped silently: what is missing is an error. The last line counts.
set -euo pipefail
cd "$(dirname "$0")"

passed=0
failed=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }

pass() {
	passed=$((passed + 1))
	printf '  ok   %s\n' "$1"
}

fail() {
	failed=$((failed + 1))
	printf '  FAIL %s\n' "$1"
}

# check <name> <command…> counts one command; what it prints is shown if it fails.
check() {
	local name=$1
	shift
	if "$@" >"$scratch/out" 2>&1; then
		pass "$name"
	else
		fail "$name"
		cat "$scratch/out"
	fi
}

# counted <file> adds what a test runner has counted as "<passed> <failed>".
counted() {
	local p f
	if read -r p f <"$1"; then
		passed=$((passed + p))
		failed=$((failed + f))
	else
		fail "the test runner did not finish"
	fi
}

need() {
	command -v "$1" >/dev/null || {
		echo "test.sh: $1 is missing: $2" >&2
		exit 2
	}
}

# browser makes sure that there is a Chromium, or the program that CHROMIUM names.
browser() {
	local name sudo=
	for name in ${CHROMIUM:-chromium chromium-browser google-chrome google-chrome-stable}; do
		! command -v "$name" >/dev/null || return 0
	done
	[ "$(id -u)" -eq 0 ] || sudo=sudo
	if [ -z "${CHROMIUM:-}" ]; then
		if command -v apt-get >/dev/null; then
			$sudo apt-get update -qq && $sudo apt-get install -qqy --no-install-recommends chromium || true
		elif command -v apk >/dev/null; then
			$sudo apk add chromium || true
		elif command -v dnf >/dev/null; then
			$sudo dnf install -qy chromium || true
		fi
	fi
	need "${CHROMIUM:-chromium}" "the chat page is tested in it; CHROMIUM may name it"
}

gofiles() { git ls-files --cached --others --exclude-standard '*.go'; }

formatted() {
	local unformatted
	unformatted=$(gofiles | xargs gofmt -l)
	printf '%s' "$unformatted"
	[ -z "$unformatted" ]
}

# caddyfile <name> <file> [<dir>]: valid, without a warning, and formatted. Paths
# in it are below dir.
caddyfile() {
	check "$1 is valid" valid "$2" "${3:-.}"
	check "$1 is formatted" diff -u "$2" <(./caddy fmt "$2" 2>/dev/null || true)
}

valid() {
	local caddy=$PWD/caddy
	(cd "$2" && "$caddy" validate --config "$1" --adapter caddyfile) >"$scratch/valid" 2>&1 || {
		cat "$scratch/valid"
		return 1
	}
	# Advice on rules does not count, because examples show other servers' code as
	# it is. Nor does an issuer of tokens that exists in an example only.
	! grep '"level":"warn"' "$scratch/valid" | grep -vE '"logger":"(http.handlers.realtime.lint|realtime.jwks)"'
}

# snippets <file.md> <dir> writes each fenced block marked caddyfile to
# <dir>/<line number>.
snippets() {
	awk -v dir="$2" '
		/^```caddyfile$/ { out = dir "/" NR; next }
		/^```/ { if (out) close(out); out = ""; next }
		out { print > out }
	' "$1"
}

# documented: what is written of the measurements changes nothing.
documented() {
	local before
	before=$(cat docs/performance.md docs/performance.svg | cksum)
	node bench/tables.mjs
	node bench/plot.mjs
	[ "$before" = "$(cat docs/performance.md docs/performance.svg | cksum)" ]
}

node_modules() {
	npm ci --prefix "$1" --no-audit --no-fund --loglevel=error
}

# gotest <argument…> runs go test and adds up its tests.
gotest() {
	: >"$scratch/counts"
	CGO_ENABLED=1 go test -timeout 10m -json "$@" 2>&1 | node conformance/lib/gotest.mjs "$scratch/counts" || true
	counted "$scratch/counts"
}

# suite <file> runs one conformance suite.
suite() {
	local status=0
	: >"$scratch/tap"
	timeout 300 node --test --test-reporter=spec --test-reporter-destination=stdout \
		--test-reporter=tap --test-reporter-destination="$scratch/tap" "$1" || status=$?
	awk -v status="$status" '
		/^# pass / { pass = $3 }
		/^# fail / { fail += $3 }
		/^# cancelled / { fail += $3 }
		END { if (status && !fail) fail = 1; print pass + 0, fail + 0 }
	' "$scratch/tap" >"$scratch/counts"
	counted "$scratch/counts"
}

say "tools"
need go "install Go 1.26"
need gcc "the race detector needs a C compiler"
need node "install Node 20"
need npm "it comes with Node"
need git "the list of files comes from it"
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || {
	echo "test.sh: Node $(node -v) is too old, 20 is needed" >&2
	exit 2
}
browser
node_modules conformance
node_modules examples
mkdir -p .tools
(cd tools && go build -o ../.tools/ honnef.co/go/tools/cmd/staticcheck)

say "format, vet, staticcheck"
check "gofmt" formatted
check "go vet" go vet ./...
check "go vet, with faults" go vet -tags faults ./internal/guard ./auth
check "staticcheck" .tools/staticcheck ./...
check "go mod verify" go mod verify

say "go test -race"
gotest -race ./...
say "go test, what counts allocations: not under the race detector"
gotest -run Alloc ./...
say "go test, with a panic at each place where one is caught"
gotest -tags faults ./internal/guard ./auth

say "build with xcaddy"
rm -f caddy
./xcaddy.sh
[ -x caddy ] || {
	echo "test.sh: ./xcaddy.sh built no ./caddy" >&2
	exit 1
}
check "the module is in it" sh -c './caddy list-modules | grep -x http.handlers.realtime'

say "examples and documentation"
export JWT_SECRET=${JWT_SECRET:-for-validation-only-0123456789abcdef}
export XDG_DATA_HOME=$scratch # a site with TLS makes its certificate authority there
for file in examples/Caddyfile examples/*.Caddyfile examples/*/Caddyfile conformance/*.Caddyfile bench/*.Caddyfile; do
	caddyfile "$file" "$file"
done
for document in *.md docs/*.md; do
	mkdir -p "$scratch/snippets/$document"
	snippets "$document" "$scratch/snippets/$document"
	for snippet in "$scratch/snippets/$document"/*; do
		[ ! -f "$snippet" ] || caddyfile "$document:${snippet##*/}" "$snippet" examples # which has node_modules
	done
done

check "the tables and plot of docs/performance.md are those of its data" documented

for file in conformance/*.test.mjs; do
	say "$file"
	suite "$file"
done

printf '\nin %s s\n%s passed, %s failed\n' "$SECONDS" "$passed" "$failed"
[ "$failed" -eq 0 ]
