#!/bin/sh
# Puts what bench.sh printed into a document, between its marks.
#   scripts/bench-insert.sh DOCUMENT TABLES
set -eu
awk -v tables="$2" '
	/^<!-- end of bench -->$/ { inside = 0 }
	!inside { print }
	/^<!-- bench -->$/ { inside = found = 1; print ""; while ((getline line < tables) > 0) print line; print "" }
	END { if (inside || !found) exit 1 }' "$1" >"$1.new" || {
	rm -f "$1.new"
	echo "$1 has no marks of where the tables belong" >&2
	exit 1
}
mv "$1.new" "$1"
