#!/bin/bash
# Times firn against the commands that it takes the place of, in one run, and
# prints a table. Ratios are what counts: a shared machine's seconds are not.
#   scripts/bench.sh FIRN [FILES [MIB]]
set -euo pipefail
firn=${1:-firn} files=${2:-2000} mib=${3:-512}
work=$(mktemp -d "${TMPDIR:-/tmp}/firn-bench.XXXXXX")
mount=
clean() {
	[ -z "$mount" ] || { kill "$mount" && wait "$mount"; } 2>/dev/null || true
	gpgconf --homedir "$work/g" --kill all 2>/dev/null || true
	rm -rf "$work"
}
trap clean EXIT
cd "$work"
export XDG_CACHE_HOME=$work/cache GNUPGHOME=$work/g
mkdir -m 700 g
mkdir -p small large archive versions bucket
echo "making $files files of 10 kB and one of $mib MiB" >&2
for ((i = 0; i < files; i++)); do head -c 10000 /dev/urandom >small/$(printf '%06x' $i); done
head -c $((mib << 20)) /dev/urandom >large/file
"$firn" key generate --name bench --email bench@localhost >/dev/null
gpg --batch --quiet --import firn.public.asc
base64 -d firn.private.base64 | gpg --batch --quiet --import
cat small/* large/file >/dev/null

now() { date +%s.%N; }
timed() { # timed VARIABLE COMMAND…: seconds, to three decimals
	local name=$1 start
	shift
	start=$(now)
	"$@"
	printf -v "$name" '%.3f' "$(echo "$(now) - $start" | bc)"
}
# The original's four processes a file.
original_seal() {
	local f
	for f in "$1"/*; do
		shasum -a 512 "$f" >/dev/null
		lz4 -q -c "$f" | gpg --batch --quiet --compress-algo none --trust-model always -r bench@localhost --encrypt >sealed.lz4.gpg
		shasum -a 512 sealed.lz4.gpg >/dev/null
		tar --append -f "$1.tar" sealed.lz4.gpg
	done
}
firn_seal() { "$firn" -q upload files "$1" --name "$1" --store "file://$work/bucket" --recipient firn.public.asc >/dev/null; }
original_open() {
	local f
	for f in "$@"; do gpg --batch --quiet --decrypt "$f" | lz4 -d -c >/dev/null; done
}
firn_open() { "$firn" -q restore archive "$1/latest" --to "restored-$1" --key firn.private.base64 >/dev/null; }
firn_mount() { cat "versions/$1/latest/file" >/dev/null; }

row() { printf '| %s | %s s | %s s | %s × |\n' "$1" "$2" "$3" "$(echo "scale=1; $2 / $3" | bc)"; }
echo '| | by hand | firn | ratio |'
echo '|---|---|---|---|'
timed a original_seal small
timed b firn_seal small
row "seal $files files of 10 kB" "$a" "$b"
timed a original_seal large
timed b firn_seal large
row "seal one file of $mib MiB" "$a" "$b"
"$firn" -q archive archive --store "file://$work/bucket" >/dev/null
timed a original_open archive/small_*/*.gpg
timed b firn_open small
row "open $files small files that firn sealed (restore)" "$a" "$b"
timed a original_open archive/large_*/*.gpg
timed b firn_open large
row "open the large one (restore)" "$a" "$b"
"$firn" -q mount archive versions --key firn.private.base64 >/dev/null &
mount=$!
until [ -e versions/large/latest ]; do sleep 0.1; done
timed b firn_mount large
row "open the large one (cat in the mount)" "$a" "$b"
