#!/bin/sh
# Puts promtool and prometheus of Debian's package into the folder given. Only
# these: the package itself would start a server on the machine.
set -eu
to=$1
command -v apt-get >/dev/null || { echo "Please put promtool and prometheus into $to first" >&2; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
get() { apt-get download -q prometheus >/dev/null 2>&1; }
# The lists of a new machine may be old or empty.
get || { apt-get update -q >/dev/null && get; } || { echo "apt-get download prometheus failed" >&2; exit 1; }
dpkg-deb --extract prometheus_*.deb .
mkdir -p "$to"
install usr/bin/prometheus usr/bin/promtool "$to"
