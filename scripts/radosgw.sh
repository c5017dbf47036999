#!/bin/bash
# A one-node Ceph with its S3 gateway, for the tests that need the server that
# most sites run: radosgw on 127.0.0.1, http on port 7480 and https on 7443.
#
#   radosgw.sh start   install what is missing (Debian, as root), start, and
#                      print NAME=VALUE lines for `env` or `eval`
#   radosgw.sh stop    stop it and delete its data
#
# Both may be repeated. Data, logs and the certificate are below FIRN_CEPH_DIR
# (default: firn-ceph in the temporary folder). The credentials are public:
# never let it listen on anything but the loopback.
set -euo pipefail

dir=${FIRN_CEPH_DIR:-${TMPDIR:-/tmp}/firn-ceph}
conf=$dir/ceph.conf
http=7480 https=7443
region=us-east-1 access=firn-access secret=firn-secret-of-the-tests
mon='[v2:127.0.0.1:3300,v1:127.0.0.1:6789]'
export CEPH_CONF=$conf CEPH_ARGS=

note() { echo "radosgw.sh: $*" >&2; }

# die MESSAGE [LOG]: gives up and shows how LOG ends.
die() {
	note "$1"
	if [ -s "${2:-}" ]; then tail -n 20 "$2" >&2; fi
	exit 1
}

# until_ok SECONDS MESSAGE LOG COMMAND...: repeats the command until it works.
until_ok() {
	local deadline=$((SECONDS + $1)) message=$2 log=$3
	shift 3
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$deadline" ] || die "$message" "$log"
		sleep 0.2
	done
}

install_packages() {
	local missing=() p
	for p in ceph-common ceph-mon ceph-mgr ceph-osd radosgw curl openssl; do
		dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || die "run as root: apt-get install ${missing[*]}"
	note "installing ${missing[*]}"
	{ apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
		-o DPkg::Lock::Timeout=300 --no-install-recommends "${missing[@]}"; } \
		</dev/null >"$dir/log/apt" 2>&1 9>&- || die "apt-get install failed" "$dir/log/apt"
}

write_config() {
	[ ! -e "$conf" ] || return 0
	cat >"$conf.new" <<-END
		[global]
		fsid = $(cat /proc/sys/kernel/random/uuid)
		mon host = $mon
		public addr = 127.0.0.1
		cluster addr = 127.0.0.1
		ms bind ipv6 = false
		# nobody but this machine can connect, so no keys
		auth cluster required = none
		auth service required = none
		auth client required = none
		auth allow insecure global id reclaim = false
		keyring = $dir/keyring
		run dir = $dir/run
		pid file = $dir/run/\$type.pid
		admin socket = $dir/run/\$type.asok
		log file = $dir/log/\$type
		crash dir = $dir/crash
		mon data = $dir/mon
		mgr data = $dir/mgr
		osd data = $dir/osd
		rgw data = $dir/rgw
		# one copy of the data on one disk is enough, and few placement groups
		osd pool default size = 1
		osd pool default min size = 1
		osd crush chooseleaf type = 0
		osd pool default pg num = 8
		osd pool default pgp num = 8
		osd pool default pg autoscale mode = off
		mon allow pool size one = true
		mon max pg per osd = 1000

		[mon]
		mon cluster log file = $dir/log/cluster
		# a nearly full disk of a developer is no reason to stop
		mon data avail crit = 1
		# each new pool waits for this
		paxos propose interval = 0.05

		[mgr]
		mgr initial modules =

		[osd]
		osd objectstore = bluestore
		osd memory target = 1073741824
		# sparse: takes up what is written
		bluestore block size = $((16 << 30))

		[client]
		# without keys there is no encryption to the monitor either
		ms mon client mode = crc
		rgw frontends = beast endpoint=127.0.0.1:$http ssl_endpoint=127.0.0.1:$https ssl_certificate=$dir/tls.crt ssl_private_key=$dir/tls.key
		rgw init timeout = 60
		# space of deleted objects comes back within minutes
		rgw gc obj min wait = 60
		rgw gc processor period = 60
	END
	mv "$conf.new" "$conf"
}

make_certificate() {
	[ ! -e "$dir/tls.crt" ] || return 0
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
		-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1,DNS:localhost \
		-keyout "$dir/tls.key" -out "$dir/tls.new" >"$dir/log/openssl" 2>&1 ||
		die "openssl failed" "$dir/log/openssl"
	mv "$dir/tls.new" "$dir/tls.crt"
}

# pid_of TYPE PROGRAM: the process of the pid file, if it is still ours. The
# command line is compared, because a number may have gone to somebody else.
pid_of() {
	local pid
	pid=$(cat "$dir/run/$1.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
	[[ "$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")" == "$2 -c $conf "* ]] || return 1
	echo "$pid"
}

# daemon TYPE PROGRAM ARGUMENTS...: starts it unless it runs. It must not
# inherit the lock, which it would hold for ever.
daemon() {
	local type=$1 program=$2
	shift 2
	if pid_of "$type" "$program" >/dev/null; then return 0; fi
	rm -f "$dir/run/$type.pid"
	note "starting $program"
	"$program" -c "$conf" "$@" </dev/null >"$dir/log/$type.out" 2>&1 9>&- ||
		die "$program does not start" "$dir/log/$type.out"
}

# make_data TYPE COMMAND...: fills a data folder once. One that was left half
# made is made anew.
make_data() {
	local type=$1
	shift
	[ ! -e "$dir/$type.made" ] || return 0
	rm -rf "${dir:?}/$type"
	mkdir "$dir/$type"
	"$@" </dev/null >"$dir/log/$type.mkfs" 2>&1 9>&- || die "$type: no data folder" "$dir/log/$type.mkfs"
	touch "$dir/$type.made"
}

make_osd() {
	local uuid
	uuid=$(cat /proc/sys/kernel/random/uuid)
	# an interrupted attempt has taken the number 0
	ceph osd purge 0 --yes-i-really-mean-it || true
	ceph osd new "$uuid" 0
	ceph-osd -c "$conf" --mkfs -i 0 --osd-uuid "$uuid"
}

osd_is_up() { ceph --connect-timeout 5 osd stat | grep -q '1 up.*1 in'; }

gateway_answers() {
	curl -sf -m 5 --noproxy '*' -o /dev/null --cacert "$dir/tls.crt" "https://127.0.0.1:$https/"
}

make_user() {
	[ ! -e "$dir/user.made" ] || return 0
	radosgw-admin -c "$conf" user info --uid=firn >/dev/null 2>&1 ||
		radosgw-admin -c "$conf" user create --uid=firn --display-name=firn \
			--access-key="$access" --secret-key="$secret" >/dev/null 2>"$dir/log/user" 9>&- ||
		die "no user" "$dir/log/user"
	touch "$dir/user.made"
}

start() {
	umask 077
	mkdir -p "$dir/log" "$dir/run" "$dir/mgr" "$dir/rgw"
	lock
	install_packages
	write_config
	make_certificate
	make_data mon ceph-mon -c "$conf" --mkfs -i a --public-addrv "$mon"
	daemon mon ceph-mon -i a
	until_ok 30 "the monitor does not answer" "$dir/log/mon" ceph --connect-timeout 2 mon stat
	daemon mgr ceph-mgr -i a
	make_data osd make_osd
	daemon osd ceph-osd -i 0
	until_ok 60 "the OSD does not come up" "$dir/log/osd" osd_is_up
	daemon client radosgw -n client.rgw
	until_ok 90 "the gateway does not answer" "$dir/log/client" gateway_answers
	make_user
	cat <<-END
		FIRN_TEST_S3_ENDPOINT=https://127.0.0.1:$https
		FIRN_TEST_S3_PLAIN_ENDPOINT=http://127.0.0.1:$http
		FIRN_TEST_S3_CA=$dir/tls.crt
		FIRN_TEST_S3_REGION=$region
		FIRN_TEST_S3_ACCESS_KEY=$access
		FIRN_TEST_S3_SECRET_KEY=$secret
	END
}

stop() {
	[ -d "$dir" ] || return 0
	lock
	local one pid
	for one in client:radosgw osd:ceph-osd mgr:ceph-mgr mon:ceph-mon; do
		pid=$(pid_of "${one%:*}" "${one#*:}") || continue
		note "stopping ${one#*:}"
		# its data is deleted anyway: no need to let it finish
		kill -KILL "$pid" 2>/dev/null || true
		until_ok 30 "process $pid does not end" "" test ! -e "/proc/$pid"
	done
	rm -rf "${dir:?}"
}

# lock lets one start or stop run at a time. The file is beside the folder,
# because stop deletes the folder.
lock() {
	exec 9>"$dir.lock"
	flock -w 300 9 || die "another start or stop holds $dir.lock"
}

case ${1:-} in
start) start ;;
stop) stop ;;
*) die "usage: radosgw.sh start|stop" ;;
esac
