# shellcheck shell=bash disable=SC2154,SC2034
# What bench-scale.sh times, by the number of files. Sourced, in a folder with
# lists/ and mnt/ to mount on, and a key.

versions=60 restored=10000
runs_of() { if [ "$1" -ge 1000000 ]; then echo 1; else echo 3; fi; } # runs_of FILES

# timed COMMAND…: sets seconds and peak, in KiB; what it prints is in output.
# Nothing that came before may be written to the disk meanwhile.
timed() {
	local start
	sync -f "$work"
	start=${EPOCHREALTIME/./}
	/usr/bin/time -f %M -o "$work/peak" "$@" >"$work/output"
	since "$start"
	peak=$(<"$work/peak")
}
since() { seconds=$(awk "BEGIN { print (${EPOCHREALTIME/./} - $1) / 1e6 }"); } # since MICROSECONDS
keep() { printf '%s\t%s\t%s\t%s\n' "$subject" "$1" "$seconds" "$peak" >>"$work/measured"; } # keep WHAT
measure() { # measure WHAT COMMAND…
	timed "${@:2}"
	keep "$1"
}

# kept FILE PATTERN: moves what was measured into FILE, in place of what matches.
kept() {
	{ grep -vE "$2" "$results/$1" || true; cat measured; } >kept
	mv kept "$results/$1"
	rm measured
}
expect() { [ "$1" = "$2" ] || fail "$1 $3, not $2"; } # expect IS SHOULD WHAT

measure_files() { # measure_files FILES
	local run runs n=$1 subject=$1
	runs=$(runs_of "$n")
	say "making $n files"
	# Those that are restored are in a folder of their own.
	"$bench" files "files-$n/some" $((n < restored ? n : restored)) 24
	[ "$n" -le "$restored" ] || "$bench" files "files-$n/others" $((n - restored)) 24
	for ((run = 1; run <= runs; run++)); do
		say "$n files, run $run of $runs: upload, archive, verify, restore"
		there_and_back "$work/$n.$run"
		say "$n files, run $run of $runs: catalog and mount of $versions versions"
		read_versions
	done
	kept times.tsv "^$n	"
}

# there_and_back FOLDER: what verify and restore need of a catalog is there before.
there_and_back() {
	local store=file://$1/bucket archive=$1/archive
	mkdir "$1" "$1/bucket" "$archive"
	rm -rf cache
	measure backup "$firn" -q upload files "files-$n" --name file-storage --store "$store" --recipient firn.public.asc
	measure archive "$firn" -q archive "$archive" --store "$store"
	measure night "$firn" -q upload files "files-$n" --name file-storage --store "$store" --recipient firn.public.asc
	measure carry "$firn" -q archive "$archive" --store "$store"
	"$firn" -q versions "$archive" >/dev/null
	measure verify "$firn" -q verify "$archive"
	measure restore "$firn" -q restore "$archive" file-storage/latest 'some/**' --to "$1/restored" --key firn.private.base64
	expect "$(find "$1/restored" -type f | wc -l)" $((n < restored ? n : restored)) "files were restored"
}

# read_versions: of an archive whose lists are made as they are read.
read_versions() {
	local list
	rm -rf cache
	"$scale" "$n" "$versions" lists &
	mounts=($! "${mounts[@]}")
	await lists/file-storage_*
	list=(lists/*/archive-info)
	timed cat "${list[0]}"
	peak=$(($(stat -c %s "${list[0]}") >> 10)) # its length, in the place of memory
	keep list
	measure catalog "$firn" -q versions lists --json
	expect "$(grep -c "\"files\": $n,*$" output)" "$versions" "versions of $n files were found"
	mounted find find files/ -type f
	expect "$(wc -l <output)" "$n" "files were found"
	mounted ls ls -l files/00/
	expect "$(grep -c '^-' output)" $(((n + 255) / 256)) "files were listed"
	mounted rsync rsync -a --dry-run --stats files/ empty/
	expect "$(sed -n 's/,//g; s/^Number of files: .*reg: \([0-9]*\).*/\1/p' output)" "$n" "files were compared"
	unmount
}

# mounted WHAT COMMAND…: on a new mount, in which files is the newest version, so
# that neither firn nor the kernel knows anything of it. The memory is the mount's.
mounted() {
	local start
	sync -f "$work"
	start=${EPOCHREALTIME/./}
	"$firn" -q mount lists mnt >/dev/null &
	mounts=($! "${mounts[@]}")
	await mnt/file-storage/latest
	since "$start"
	memory
	keep mount
	ln -sfn mnt/file-storage/latest files
	timed "${@:2}"
	memory
	keep "$1"
	unmount
}
memory() { peak=$(awk '/^VmHWM/ { print $2 }' "/proc/${mounts[0]}/status"); }
unmount() {
	kill "${mounts[0]}"
	wait "${mounts[0]}" || true
	mounts=("${mounts[@]:1}")
}

# await PATTERN: until the last mount shows it.
await() {
	local i
	for ((i = 0; i < 60000; i++)); do
		! compgen -G "$1" >/dev/null || return 0
		kill -0 "${mounts[0]}" 2>/dev/null || break
		sleep 0.01
	done
	fail "$1 does not appear"
}

measure_lines() {
	say "reading and writing a list of a million lines"
	(cd "$scripts/.." && go test ./internal/manifest -run '^$' -bench MillionLines -benchtime 3x) >output || { cat output >&2; fail "the benchmark failed"; }
	awk -v OFS='\t' '/^BenchmarkMillionLines/ { split($1, name, "[/-]"); print name[2], $3 / 1e9, $5 }' output >measured
	expect "$(wc -l <measured)" 2 "benchmarks ran"
	kept lines.tsv .
}
