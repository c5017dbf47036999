#!/bin/sh
# The object store's tests, and nights of the whole program, on the gateway that
# most sites run: Ceph's, over TLS. Starts one on this machine, and stops it.
set -eu
[ $# = 2 ] || { echo "usage: test-ceph.sh BIN TOOLS" >&2; exit 2; }
cd "$(dirname "$0")/.."
FIRN=$(realpath "$1")
FIRN_TOOLS=$(realpath "$2")
export FIRN FIRN_TOOLS

trap 'scripts/radosgw.sh stop' EXIT
trap 'exit 130' INT TERM
settings=$(scripts/radosgw.sh start)
for setting in $settings; do
	export "${setting?}"
done
echo "Ceph is at $FIRN_TEST_S3_ENDPOINT"

go test -count=1 -timeout 10m ./internal/objstore/...
(cd e2e && go test -count=1 -timeout 10m -run '^(TestNights|TestOriginalGoesOn|TestDatabases)$' ./...)
