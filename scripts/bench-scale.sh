#!/bin/bash
# Times firn by the number of files, and beside restic and borg. What it measures
# is kept in RESULTS, so one part can be measured anew by itself: a number of
# files, "lines" (a list of a million lines) or "tools" (restic and borg). From
# all that is there it makes RESULTS/scale.md and $OUT/scale.svg, and puts the
# tables into $OUT/performance.md. $OUT is docs. A million files take about 20 GB
# of disk in $TMPDIR: nothing is deleted before the end, since for minutes after
# that a file system is slow in making files.
#   [OUT=docs] scripts/bench-scale.sh FIRN RESULTS PART…
set -euo pipefail
export LC_ALL=C
fail() { echo "$*" >&2; exit 1; }
[ $# -ge 3 ] || fail "usage: scripts/bench-scale.sh FIRN RESULTS PART…"
firn=$(realpath "$1") results=$(realpath -m "$2")
shift 2
scripts=$(realpath "$(dirname "$0")")
out=$(realpath -m "${OUT:-$scripts/../docs}")
for tool in go fusermount3 rsync restic borg gnuplot /usr/bin/time "$firn"; do
	command -v "$tool" >/dev/null || fail "$tool is missing: run make bench-scale"
done
most=0
for part in "$@"; do
	case $part in
	lines | tools) ;;
	'' | 0* | *[!0-9]*) fail "what to measure is a number of files, \"lines\" or \"tools\", not \"$part\"" ;;
	*) [ "$part" -ge 256 ] || fail "there must be at least 256 files, one for each folder"
		[ "$part" -le "$most" ] || most=$part ;;
	esac
done
grep -q '^<!-- end of scale -->$' "$out/performance.md" || fail "$out/performance.md has no marks of where the tables belong: <!-- scale --> and <!-- end of scale -->"

work=$(mktemp -d "${TMPDIR:-/tmp}/firn-scale.XXXXXX")
mounts=() # processes, the last one first
clean() {
	local process
	for process in "${mounts[@]}"; do
		kill "$process" && wait "$process"
	done
	fusermount3 -uz "$work/mnt"
	fusermount3 -uz "$work/lists"
	cd / && rm -rf --one-file-system "$work"
} 2>/dev/null
trap 'set +e; clean' EXIT
trap 'exit 1' INT TERM
needed=$((most * 20 / 1000 + 6000))
[ "$(df -m --output=avail "$work" | tail -n 1)" -ge $needed ] || fail "$work lacks $needed MiB of space: set TMPDIR to another disk, or measure fewer files"
(cd "$scripts/../e2e" && go build -buildvcs=false -o "$work" ./bench ./scale)
bench=$work/bench scale=$work/scale
mkdir -p "$results"
touch "$results"/{times,lines,tools}.tsv
cd "$work"
mkdir lists mnt empty
export XDG_CACHE_HOME=$work/cache
say() { echo "$(date +%T) $*" >&2; }
# shellcheck source-path=SCRIPTDIR
. "$scripts/bench-table.sh" # grouped
# shellcheck source-path=SCRIPTDIR
. "$scripts/bench-scale-steps.sh"
# shellcheck source-path=SCRIPTDIR
. "$scripts/bench-scale-tools.sh"
# shellcheck source-path=SCRIPTDIR
. "$scripts/bench-scale-table.sh"

"$firn" key generate --name bench --email bench@localhost >/dev/null # RSA 4096
for part in "$@"; do
	case $part in
	lines) measure_lines ;;
	tools) measure_tools ;;
	*) measure_files "$part" ;;
	esac
done

summarize times.tsv >"$results/summary.tsv"
[ ! -s "$results/summary.tsv" ] || gnuplot -c "$scripts/bench-scale.gp" "$results/summary.tsv" "$out/scale.svg"
print_scale >"$results/scale.md"
sed -i -e '/^<!-- scale -->$/,/^<!-- end of scale -->$/{//!d}' -e "/^<!-- scale -->\$/r $results/scale.md" "$out/performance.md"
say "done: the tables are in $out/performance.md"
