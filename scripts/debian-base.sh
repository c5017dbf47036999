#!/bin/sh
# Makes FILE, a .tar of a small Debian with systemd, in which the tests install
# the package. As root; about a minute, and 300 MB of disk.
set -eu
file=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase --include=systemd-sysv,dbus,fuse3,ca-certificates bookworm "$work/root" \
	"${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$work/log" 2>&1 || { tail "$work/log" "$work/root/debootstrap/debootstrap.log" >&2; exit 1; }
rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
tar -c -C "$work/root" --numeric-owner -f "$file.new" .
mv "$file.new" "$file"
