# shellcheck shell=bash disable=SC2154,SC2034
# What bench.sh times: the commands by hand, and firn's. Sourced, in a folder
# with plain/NAME/ (the files), hand/ (what is sealed by hand), bucket/, and the
# archives firn/ and gpg/, which hold what firn and what gpg sealed.

# Seconds and peak memory of the last step. Nothing that came before may be
# written to the disk meanwhile.
seconds=0 peak=0
by_hand() { # by_hand COMMAND…
	local start
	sync -f "$work"
	start=${EPOCHREALTIME/./}
	"$@"
	seconds=$(awk "BEGIN { print (${EPOCHREALTIME/./} - $start) / 1e6 }")
}
by_firn() { # by_firn ARGUMENT…
	local measured
	sync -f "$work"
	measured=$("$bench" run "$firn" -q "$@")
	read -r seconds peak <<<"$measured"
}

# discard PATH…: where there are many files, they are only moved away. To make
# 2,000 files was seen to take three times as long in the minutes after thousands
# were deleted.
discarded=0
discard() {
	local path
	for path in "$@"; do
		if [ "$(find "$path" | wc -l)" -le 500 ]; then
			rm -rf "$path"
			continue
		fi
		mkdir -p discarded
		mv "$path" "discarded/$((++discarded))"
	done 2>/dev/null
}

list() { (cd "plain/$1" && find . -type f -printf '%P\n' | sort); } # list NAME

# prepare_hand NAME PART: nothing is sealed yet.
prepare_hand() {
	mkdir -p "hand/$1"
	(cd "plain/$1" && find . -type d) | (cd "hand/$1" && xargs mkdir -p)
	rm -f "hand/$1.$2".*
}
# seal_by_hand NAME PART FILE…: the original's four commands for each file. The
# checksums and the tar file are kept, and PART tells apart those of several calls.
seal_by_hand() {
	local name=$1 part=hand/$1.$2 f
	shift 2
	for f in "$@"; do
		shasum -a 512 "plain/$name/$f" >>"$part.plain"
		lz4 -q -c "plain/$name/$f" | gpg --batch --quiet --compress-algo none --trust-model always -r bench@localhost --encrypt >"hand/$name/$f.lz4.gpg"
		shasum -a 512 "hand/$name/$f.lz4.gpg" >>"$part.sealed"
		tar --append -f "$part.tar" -C "hand/$name" "$f.lz4.gpg"
	done
}
# archive_by_hand NAME: an archive as the original's, of all parts sealed.
archive_by_hand() {
	local name=$1 backup=$1_2026-01-01T01:10:00.000Z tar
	mkdir -p "gpg/$name/$backup"
	for tar in "hand/$name".*.tar; do tar -x -f "$tar" -C "gpg/$name/$backup"; done
	archive_info "$name" "$backup" <(cat "hand/$name".*.plain) <(cat "hand/$name".*.sealed)
	discard hand
}
# archive_info NAME BACKUP PLAINSUMS SEALEDSUMS: the list of its files.
archive_info() {
	find "plain/$1" -type f -printf 'size %s %P\n' | cat - "$3" <(echo sealed) <(find "gpg/$1/$2" -type f -name '*.gpg' -printf 'size %s %P\n') "$4" |
		awk -v backup="$2" -v OFS='\t' '
			$1 == "sealed" { sealed = 1; next }
			$1 == "size" { size[$3] = $2; next }
			{ n = split($2, path, "/"); sum[path[n - 1] "/" path[n]] = $1 }
			END { for (f in size) if ((g = f ".lz4.gpg") in size) print f, size[f], sum[f], g, size[g], sum[g], backup }' >"gpg/$1/$2/archive-info"
}
# open_by_hand FOLDER FILE…: to nowhere.
open_by_hand() {
	local folder=$1 f
	shift
	for f in "$@"; do gpg --batch --quiet --decrypt "$folder/$f.lz4.gpg" | lz4 -q -d -c >/dev/null; done
}

prepare_upload() { rm -rf bucket && mkdir bucket; }
upload() { by_firn upload files "plain/$1" --name "$1" --store "file://$work/bucket" --recipient firn.public.asc; } # upload NAME
# archive NAME: what was uploaded becomes firn/NAME/NAME_….
archive() {
	mkdir -p "firn/$1"
	"$firn" -q archive "firn/$1" --store "file://$work/bucket" >/dev/null
	rm -rf bucket
}
# restore ARCHIVE: into restored/, by a firn that never saw the archive.
restore() {
	rm -rf cache
	discard restored
	by_firn restore "$1" "${1#*/}/latest" --to restored --key firn.private.base64
}
check_restored() { # check_restored NAME
	diff -r "plain/$1" restored >&2 || { echo "what was restored differs" >&2; exit 1; }
	discard restored
}

# mount_archive ARCHIVE: on mnt/, by a firn that never saw it, so that neither
# firn nor the kernel has anything of the files. Sets files to its folder.
mount_archive() {
	local i
	rm -rf cache
	"$firn" -q mount "$1" mnt --key firn.private.base64 >/dev/null &
	mount=$!
	files=mnt/${1#*/}/latest
	for ((i = 0; i < 600; i++)); do
		[ ! -e "$files" ] || return 0
		kill -0 "$mount" 2>/dev/null || break
		sleep 0.1
	done
	echo "the mount of $1 does not come up" >&2
	exit 1
}
unmount() { # sets peak
	local name value
	while read -r name value _; do [ "$name" != VmHWM: ] || peak=$((value >> 10)); done <"/proc/$mount/status"
	kill "$mount"
	wait "$mount" || true
	mount=
}
# from_mount ARCHIVE COMMAND…: times the command on a new mount.
from_mount() {
	mount_archive "$1"
	shift
	by_hand "$@"
	unmount
}
cat_all() { find "$files/" -type f -exec cat {} + >/dev/null; }
copy_all() { cp -r "$files/." restored; }
