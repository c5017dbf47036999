#!/bin/sh
# Runs every fuzz target of the project, one after the other, each for the time
# given: scripts/fuzz.sh [30s [pattern of targets]]. A line for each says how
# often it ran. One that fails stops no other; what it failed on is in its
# package's testdata/fuzz.
set -eu
time=${1:-30s}
pattern=${2:-.}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0
for package in $(go list ./...); do
	dir=$(go list -f '{{.Dir}}' "$package")
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null | sed 's/^func //' | grep -E "$pattern"); do
		result=ok
		# To make an interesting input shorter can take all of the time.
		go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x >"$log" 2>&1 || result=FAILED
		# The time may end in the middle of a slow run, which go calls a failure.
		if grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log"; then
			result=ok
		fi
		runs=$(sed -n 's/.*elapsed: \([^,]*\), execs: \([0-9]*\).*total: \([0-9]*\).*/\2 runs in \1, \3 inputs/p' "$log" | tail -n 1)
		echo "$result ${package#*/firn/} $target: ${runs:-no runs}"
		if [ "$result" != ok ]; then
			cat "$log"
			failed=1
		fi
	done
done
exit $failed
