#!/bin/sh
# Writes site/login.json, or the file named: tokens with which the page of
# examples/Caddyfile lets one be any of a few people. For development only. On
# your site your app signs a token for the user who is logged in.
#
#   JWT_SECRET=… examples/login.sh [<file>]
#
# CADDY is the program that signs; default: the repository's ./caddy.
set -eu
here=$(dirname "$0")
caddy=${CADDY:-$here/../caddy}
file=${1:-$here/site/login.json}

entries=
for name in ada grace alan margaret edsger radia; do
	token=$("$caddy" realtime token --secret-env JWT_SECRET --sub "$name" --ttl 12h)
	entries="$entries${entries:+,
}	\"$name\": \"$token\""
done
printf '{\n%s\n}\n' "$entries" >"$file"
