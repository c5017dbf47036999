#!/bin/bash
# Times firn against the commands that it takes the place of, in one run, and
# prints tables: medians of RUNS runs, by hand and firn in turn. Ratios are what
# counts: a shared machine's seconds are not. $OUT (docs) gets throughput.svg
# and what it is drawn from, throughput.tsv. About 40 GB of disk in $TMPDIR.
#   [SMALL=2000] [LARGE_MIB=1024] [RANDOM_MIB=10240] [OUT=docs] scripts/bench.sh FIRN [RUNS]
set -euo pipefail
export LC_ALL=C
fail() { echo "$*" >&2; exit 1; }
firn=${1:-firn} runs=${2:-5}
small=${SMALL:-2000} large=${LARGE_MIB:-1024} random=${RANDOM_MIB:-10240}
scripts=$(realpath "$(dirname "$0")")
out=$(realpath -m "${OUT:-$scripts/../docs}")
case $firn in */*) firn=$(realpath "$firn") ;; esac
for tool in gpg lz4 shasum tar fusermount3 gnuplot go "$firn"; do
	command -v "$tool" >/dev/null || fail "$tool is missing: run make bench"
done
for n in "$runs" "$small" "$large" "$random"; do
	case $n in '' | 0* | *[!0-9]*) fail "RUNS, SMALL, LARGE_MIB and RANDOM_MIB must be whole numbers from 1, not \"$n\"" ;; esac
done
[ "$small" -ge 4 ] || fail "SMALL must be at least 4: a run by hand takes a quarter"

work=$(mktemp -d "${TMPDIR:-/tmp}/firn-bench.XXXXXX")
mount=
clean() {
	local i
	if [ -n "$mount" ]; then
		kill "$mount"
		for ((i = 0; i < 30; i++)); do
			kill -0 "$mount" || break
			sleep 0.1
		done
		kill -9 "$mount" # whoever is still reading does not keep it
		wait "$mount"
		fusermount3 -uz "$work/mnt"
	fi
	gpgconf --homedir "$work/g" --kill all
	cd / && rm -rf --one-file-system "$work"
} 2>/dev/null
trap 'set +e; clean' EXIT
trap 'exit 1' INT TERM
needed=$((3 * random + 8 * large + 100))
[ "$(df -m --output=avail "$work" | tail -n 1)" -ge $needed ] || fail "$work lacks $needed MiB of space: set TMPDIR to another disk, or a smaller RANDOM_MIB"
(cd "$scripts/../e2e" && go build -buildvcs=false -o "$work/bench" ./bench)
bench=$work/bench
cd "$work"
export XDG_CACHE_HOME=$work/cache GNUPGHOME=$work/g
mkdir -m 700 g
mkdir -p plain mnt times "$out"
say() { echo "$(date +%T) $*" >&2; }
# shellcheck source-path=SCRIPTDIR
. "$scripts/bench-steps.sh"
# shellcheck source-path=SCRIPTDIR
. "$scripts/bench-table.sh"
# shellcheck source-path=SCRIPTDIR
. "$scripts/bench-rows.sh"

say "making a key of RSA 4096, $small files of 10 kB and one of $large MiB"
"$firn" key generate --name bench --email bench@localhost >/dev/null
gpg --batch --quiet --import firn.public.asc
base64 -d firn.private.base64 | gpg --batch --quiet --import
"$bench" files plain/small "$small" 10000
"$bench" files plain/large 1 $((large << 20))

seal_small
seal_large
open_small
open_large
print_ratios >ratios.md
discard plain firn gpg
read_random
print_reading >reading.md
by_size
gnuplot -c "$scripts/bench-plot.gp" throughput.tsv throughput.svg
mv throughput.tsv throughput.svg "$out/"
print_machine
cat ratios.md
echo
cat reading.md
echo
print_notes
say "done; the plot is $out/throughput.svg"
