#!/bin/sh
# Installs the Debian packages named that are missing: as root by itself, else
# it says what to type.
set -eu
missing=
for p in "$@"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
	echo "Please install first:$missing (on Debian: sudo apt-get install$missing)" >&2
	exit 1
fi
echo "installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 $missing >/dev/null 2>&1; }
# The lists of a new machine may be old or empty.
install || { apt-get update -q >/dev/null && install; } || {
	echo "Please install first:$missing (apt-get install$missing failed)" >&2
	exit 1
}
