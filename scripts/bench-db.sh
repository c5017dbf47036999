#!/bin/bash
# Times firn's way of a database to the bucket and back against pg_dump, lz4,
# gpg and psql by hand, in one run on servers of its own, and prints a table.
# By hand, the sealed dump goes into a file, and nothing is verified or counted.
#   scripts/bench-db.sh FIRN [MIB]
set -euo pipefail
firn=${1:-firn} mib=${2:-2200}
case $firn in */*) firn=$(realpath "$firn") ;; esac
export PATH=$PATH:$(realpath "$(dirname "$0")/..")/.tools/bin
pg= # the newest server's programs
for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -V); do
	[ ! -x "$dir/initdb" ] || pg=$dir
done
[ -n "$pg" ] && command -v versitygw >/dev/null || { echo "PostgreSQL's server or versitygw is missing: run make tools" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/firn-bench-db.XXXXXX")
gateway=
as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
clean() {
	[ -z "$gateway" ] || { kill "$gateway" && wait "$gateway"; } 2>/dev/null || true
	(cd "$work/pg" && as "$pg/pg_ctl" stop -D data -m immediate -s) 2>/dev/null || true
	gpgconf --homedir "$work/g" --kill all 2>/dev/null || true
	cd / && rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM
chmod 711 "$work"
cd "$work"
export XDG_CACHE_HOME=$work/cache GNUPGHOME=$work/g
mkdir -m 700 g
mkdir archive bucket pg
free() { local p; until p=$((20000 + RANDOM)) && ! (: <"/dev/tcp/127.0.0.1/$p") 2>/dev/null; do :; done; echo "$p"; }
answers() { local i; for ((i = 0; i < 100; i++)); do (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.1; done; echo "nothing answers at port $1" >&2; return 1; }

# The servers.
echo bench >password
chmod 644 password
[ "$(id -u)" != 0 ] || chown postgres pg
(cd pg && as "$pg/initdb" -D data -U bench -A scram-sha-256 --pwfile="$work/password" --no-sync >/dev/null)
port=$(free)
settings="-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories= -c fsync=off -c synchronous_commit=off"
settings+=" -c full_page_writes=off -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=4GB -c autovacuum=off"
(cd pg && as "$pg/pg_ctl" start -D data -w -s -l log -o "$settings")
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=bench PGPASSWORD=bench
export ROOT_ACCESS_KEY=bench-access-key ROOT_SECRET_KEY=bench-secret-key
s3=$(free)
versitygw --quiet --region us-east-1 --port "127.0.0.1:$s3" posix "$work/bucket" >gateway.log 2>&1 &
gateway=$!
answers "$s3"
mkdir bucket/bench
export backup_bucket=bench backup_s3_endpoint=http://127.0.0.1:$s3 backup_s3_region=us-east-1 backup_s3_path_style_access=true
export backup_s3_access_key=$ROOT_ACCESS_KEY backup_s3_secret_key=$ROOT_SECRET_KEY
export db_url_bench=postgres://bench@127.0.0.1:$port/bench db_pass_bench=bench
"$firn" key generate --name bench --email bench@localhost >/dev/null
gpg --batch --quiet --import firn.public.asc
base64 -d firn.private.base64 | gpg --batch --quiet --import

# 512 bytes a line, half of them random, half of them not.
echo "making a table of $mib MiB" >&2
"$pg/psql" -q -d postgres -c 'CREATE DATABASE bench' -c 'CREATE DATABASE by_firn' -c 'CREATE DATABASE by_hand'
"$pg/psql" -q -d bench -c "CREATE TABLE jobs AS SELECT i AS id,
	md5('a' || i) || md5('b' || i) || md5('c' || i) || md5('d' || i) || md5('e' || i) || md5('f' || i) || md5('g' || i) || md5('h' || i) AS random,
	rpad('job ' || i % 1000 || ' finished, ', 246, 'the same as every day, ') AS text
	FROM generate_series(1000000, 1000000 + $mib * 2048 - 1) AS i"
size=$("$pg/pg_dump" bench | wc -c) # which also brings it into memory

timed() { # timed VARIABLE COMMAND…: seconds
	local name=$1 start
	shift
	# What came before must not be written meanwhile.
	"$pg/psql" -q -d postgres -c CHECKPOINT
	sync
	start=${EPOCHREALTIME/./}
	"$@"
	printf -v "$name" '%s' "$(awk "BEGIN { printf \"%.1f\", (${EPOCHREALTIME/./} - $start) / 1e6 }")"
}
peak=
measured() { # measured ARGUMENT…: runs firn, and sets peak to its largest memory, in MiB
	local pid kb=0 name value
	"$firn" -q "$@" >report &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		while read -r name value _; do [ "$name" != VmHWM: ] || kb=$value; done 2>/dev/null <"/proc/$pid/status" || true
		sleep 0.05
	done
	wait "$pid"
	peak=$((kb >> 10))
}
seal_by_hand() { "$pg/pg_dump" bench | lz4 -q -c | gpg --batch --quiet --compress-algo none --trust-model always -r bench@localhost --encrypt >by-hand.sql.lz4.gpg; }
open_by_hand() { gpg --batch --quiet --decrypt "$1" | lz4 -d -c | "$pg/psql" -q -X -1 -v ON_ERROR_STOP=1 -d by_hand >/dev/null; }
row() { printf '| %s | %s | %s s | %s | %s MiB |\n' "$1" "${2:+$2 s}" "$3" "${2:+$(awk "BEGIN { printf \"%.2f\", ${2:-0} / $3 }") ×}" "$4"; }

timed a seal_by_hand
timed b measured upload db --recipient firn.public.asc --pg-bin "$pg"
upload=$(row "dump, seal, upload" "$a" "$b" "$peak")
timed b measured archive archive
archive=$(row "archive" "" "$b" "$peak")
sealed=$(echo archive/bench-db-backup_*/*.sql.lz4.gpg)
timed a open_by_hand "$sealed"
timed b measured restore db archive bench-db-backup/latest --to "postgres://bench@127.0.0.1:$port/by_firn" --key firn.private.base64 --pg-bin "$pg"
count='SELECT count(*), sum(hashtext(jobs::text)) FROM jobs'
[ "$("$pg/psql" -At -d by_firn -c "$count")" = "$("$pg/psql" -At -d bench -c "$count")" ] || { echo "the restored rows differ" >&2; exit 1; }
echo "| a dump of $((size >> 20)) MiB, sealed $(($(stat -c %s "$sealed") >> 20)) MiB | by hand | firn | ratio | memory of firn |"
echo '|---|---|---|---|---|'
echo "$upload"
echo "$archive"
row "open, restore" "$a" "$b" "$peak"
