#!/bin/sh
# The main job, for real, on what needs no server: a folder as the bucket, a
# generated key, sample files. Shows what it does and leaves nothing behind.
set -eu
firn=${1:-firn}
work=$(mktemp -d "${TMPDIR:-/tmp}/firn-demo.XXXXXX")
export XDG_CACHE_HOME="$work/cache"
mounted=

clean() {
	[ -z "$mounted" ] || kill "$mounted" 2>/dev/null || true
	[ -z "$mounted" ] || wait "$mounted" 2>/dev/null || true
	cd /
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() {
	printf '$ %s\n' "$*"
	"$@"
}
# same compares contents and times of files; rsync lists what differs.
same() {
	printf '$ rsync -rltO --checksum --dry-run --itemize-changes %s %s\n' "$1" "$2"
	differs=$(rsync -rltO --checksum --dry-run --itemize-changes "$1" "$2")
	[ -z "$differs" ] || { printf 'they differ:\n%s\n' "$differs" >&2; exit 1; }
	echo "(no difference)"
}
# Only the program's name in what is shown, not where it was built.
PATH=$(dirname "$firn"):$PATH
cd "$work"

title "A storage: a thousand small files, some larger ones, odd names"
mkdir -p storage archive versions bucket
i=0
while [ $i -lt 1000 ]; do
	id=$(printf '%04x-%08x' "$i" $((i * 2654435761 % 4294967296)))
	dir=storage/$(printf '%.2s' "$(printf '%02x' $((i % 256)))")
	mkdir -p "$dir"
	printf 'sample %s\n' "$id" >"$dir/$id"
	i=$((i + 1))
done
head -c 20000000 /dev/urandom >storage/large-random
head -c 50000000 /dev/zero >storage/large-zeros
: >storage/empty
printf 'x' >"storage/a name with spaces, a 	tab and a
line break"
show du -sh storage

title "A key: the public part goes to the storage's host, the private one stays away from it"
show firn key generate --curve25519 --name demo --email demo@localhost

title "First night: back up to the bucket, archive from there"
show firn --quiet upload files storage --name file-storage --store "file://$work/bucket" --recipient firn.public.asc
show firn --quiet archive archive --store "file://$work/bucket"
cp -a storage first-night

title "Files are added, replaced and deleted; second night"
printf 'replaced\n' >storage/00/0000-00000000
rm storage/large-random
printf 'new\n' >storage/new
show firn --quiet upload files storage --name file-storage --store "file://$work/bucket" --recipient firn.public.asc
show firn --quiet archive archive --store "file://$work/bucket"

title "What there is"
show firn versions archive
first=$(firn versions archive --json | sed -n 's/.*"name": "\(.*\)".*/\1/p' | head -n 1)
show firn diff archive "$first" file-storage/latest

title "All of it read, opened and compared with the lists"
show firn --quiet verify archive --key firn.private.base64

title "All versions as plain files, through a mount"
printf '$ firn mount archive versions --key firn.private.base64 &\n'
firn --quiet mount archive versions --key firn.private.base64 &
mounted=$!
n=0
until [ -e versions/file-storage/latest ]; do
	n=$((n + 1))
	[ $n -lt 100 ] && kill -0 $mounted 2>/dev/null || { echo "the mount does not come up" >&2; exit 1; }
	sleep 0.1
done
show ls versions/file-storage
same first-night/ "versions/file-storage/${first#*_}/"
same storage/ versions/file-storage/latest/
kill $mounted
wait $mounted || true
mounted=

title "Restored without a mount, and compared"
show firn --quiet restore archive "$first" --to restored --key firn.private.base64
show diff -r first-night restored
printf '\nBoth versions are as they were.\n'
