#!/bin/sh
# Restores files without firn: with sh, awk, coreutils, gpg and lz4, and tar for
# what comes straight from the bucket.
#
#   restore.sh ARCHIVE VERSION TARGET
#       a version of the archive in the folder ARCHIVE, such as
#       file-storage_2019-05-08T09:26:17.038Z
#   restore.sh --bucket BUCKET BACKUP TARGET
#       a full backup, of which the list and the packages were downloaded from
#       the bucket to the folder BUCKET/BACKUP; needs space for the packages
#
# gpg takes the key from its keyring, so import it before: base64 -d
# firn.private.base64 | gpg --import
#
# Sealed and plain files are compared with the SHA-512 of the list. What fails
# is named, and the exit code is 1 then; a second run goes on with the rest.
# Files in TARGET that differ are left alone. docs/formats.md explains the list.
set -u
export LC_ALL=C
umask 077 # until a file has the mode of the list
tab=$(printf '\t')

die() {
	printf 'restore.sh: %s\n' "$*" >&2
	exit 1
}

# instants writes "<instant> <name>" for the names of backups on standard input.
# As text, "…00.512Z" sorts before "…00Z", which is half a second older: so the
# decimals are filled up.
instants() {
	awk '{
		instant = $0
		sub(/^[^_]*_/, "", instant)
		if (instant !~ /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9:]*(\.[0-9]*)?Z$/) next
		sub(/Z$/, "", instant)
		if (index(instant, ".") == 0) instant = instant "."
		while (length(instant) < length("2019-05-08T09:26:17.038000000")) instant = instant "0"
		print instant " " $0
	}'
}

# folders_from VERSION prints the folders that may hold its files: its own, and
# the later ones of the same storage.
folders_from() {
	from=$(printf '%s\n' "$1" | instants)
	[ -n "$from" ] || die "$1 is no name of a version"
	for folder in "$root/${1%%_*}"_*; do
		[ ! -d "$folder" ] || printf '%s\n' "${folder##*/}"
	done | instants | sort | awk -v from="$from" '$0 "" >= from "" { sub(/^[^ ]* /, ""); print }'
}

# columns prints, for each line of a list: hash, sealed path, sealed hash, where
# it is, mtime, mode, path. Tabs separate them; missing ones are "-"; the path
# is written for printf %b.
columns() {
	awk -F '\t' '
	function hex(c) { return index("0123456789ABCDEF", toupper(c)) - 1 }
	function unescaped(s, result) {
		while (match(s, /%[0-9A-Fa-f][0-9A-Fa-f]/)) {
			result = result protect(substr(s, 1, RSTART - 1)) sprintf("\\0%03o", 16 * hex(substr(s, RSTART + 1, 1)) + hex(substr(s, RSTART + 2, 1)))
			s = substr(s, RSTART + 3)
		}
		return result protect(s)
	}
	function protect(s) { gsub(/\\/, "\\0134", s); return s }
	NF < 7 { printf "restore.sh: line %d of the list has %d columns\n", NR, NF >"/dev/stderr"; exit 1 }
	{
		path = protect($1); mtime = mode = "-"
		for (i = 8; i <= NF; i++) {
			if ($i ~ /^name=/) path = unescaped(substr($i, 6))
			if ($i ~ /^mtime=/) mtime = substr($i, 7)
			if ($i ~ /^mode=/) mode = substr($i, 6)
		}
		print $3 "\t" $4 "\t" $6 "\t" $7 "\t" mtime "\t" mode "\t" path
	}' "$1"
}

hash_of() {
	sum=$(sha512sum <"$1") && printf '%s' "${sum%% *}"
}

# is_below tells whether a path of a list stays below its folder.
is_below() {
	case /$1/ in *//* | */./* | */../*) return 1 ;; esac
}

# find_sealed sets sealed to the file of the given path and hash.
find_sealed() {
	seen=
	while IFS= read -r folder; do
		sealed=$root/$folder/$1
		if [ -f "$sealed" ]; then
			[ "$(hash_of "$sealed")" != "$2" ] || return 0
			seen=$sealed
		fi
	done <<-END
		$folders
	END
	[ -z "$seen" ] || { why="damaged: $seen has another SHA-512" && return 1; }
	why="missing: $1 is in none of the folders"
	return 1
}

# plain_of writes what is in a sealed file. A pipe hides that gpg failed; the
# hash of what came out shows it.
plain_of() {
	case $1 in
	*.lz4.gpg) gpg --quiet --decrypt "$1" </dev/null | lz4 -d -q -c ;;
	*.lz4) lz4 -d -q -c <"$1" ;;
	*) return 1 ;;
	esac
}

# restore_file restores the file of one line to $target/$path, or says why not.
restore_file() {
	is_below "$path" && is_below "$sealed_path" || { why="the list is hostile" && return 1; }
	if [ -e "$target/$path" ] || [ -L "$target/$path" ]; then
		why="something else is there already"
		[ -f "$target/$path" ] && [ "$(hash_of "$target/$path")" = "$hash" ] || return 1
	else
		find_sealed "$sealed_path" "$sealed_hash" || return 1
		why="damaged, or gpg has no key for it"
		plain_of "$sealed" >"$work/plain" || return 1
		[ "$(hash_of "$work/plain")" = "$hash" ] || return 1
		why="cannot be written"
		case $path in */*) (umask 022 && mkdir -p "$target/${path%/*}") || return 1 ;; esac
		chmod 644 "$work/plain" && mv "$work/plain" "$target/$path" || return 1
	fi
	why="its mode or time cannot be set"
	# Not setuid, setgid and sticky: the list does not say whose file it was.
	[ "$mode" = - ] || chmod "${mode#?}" "$target/$path" || return 1
	[ "$mtime" = - ] || touch -d "@$mtime" "$target/$path"
}

from_bucket=
if [ "${1:-}" = --bucket ]; then
	from_bucket=yes
	shift
fi
[ $# = 3 ] || die "usage: restore.sh [--bucket] FOLDER VERSION TARGET"
root=$1 version=$2 target=$3
# Nothing that begins with a dash reaches a command.
case $root in /*) ;; *) root=./$root ;; esac
case $target in /*) ;; *) target=./$target ;; esac

mkdir -p "$target" || exit 1
work=$(mktemp -d "$target/.restore.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

list=archive-info
[ -z "$from_bucket" ] || list=backup-info
[ -f "$root/$version/$list" ] || die "$root/$version/$list: no such file"
list=$root/$version/$list
[ ! -s "$list" ] || [ -z "$(tail -c 1 "$list")" ] || die "$list is cut short"

if [ -n "$from_bucket" ]; then
	mkdir "$work/$version" || exit 1
	find "$root/$version" -name '*.tar' -exec tar -x -C "$work/$version" -f {} \;
	root=$work folders=$version
else
	folders=$(folders_from "$version") || exit 1
fi

columns "$list" >"$work/list" || exit 1
files=0 failed=0
while IFS=$tab read -r hash sealed_path sealed_hash holder mtime mode escaped; do
	files=$((files + 1))
	path=$(printf '%bx' "$escaped")
	path=${path%x}
	if ! restore_file; then
		failed=$((failed + 1))
		[ -z "$from_bucket" ] || [ "$holder" = "$version" ] || why="$why (the backup is not a full one: it is in $holder)"
		printf 'restore.sh: %s: %s\n' "$escaped" "$why" >&2
	fi
done <"$work/list"
printf '%d of %d files of %s are restored\n' $((files - failed)) "$files" "$version"
[ "$failed" = 0 ]
