#!/bin/sh
# Prints the version of the checkout, in a form that Debian, Red Hat and people
# sort alike: 1.2.3 for the tag v1.2.3, 1.2.3+4.gabcdef0 four commits later, and
# where no such tag is, 0~git and the commit's time. Changes that are not
# committed add "dirty". $VERSION wins.
set -eu
[ -z "${VERSION:-}" ] || { printf '%s\n' "$VERSION" && exit 0; }
cd "$(dirname "$0")/.."
dirty=$(git status --porcelain --untracked-files=no)
if described=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
	version=$(printf '%s' "${described#v}" | sed 's/-\([0-9]*\)-g\([0-9a-f]*\)$/+\1.g\2/; s/-/~/g') # 1.0-rc1 is before 1.0
	[ -z "$dirty" ] || case $version in *+*) version=$version.dirty ;; *) version=$version+dirty ;; esac
else
	version=0~git$(TZ=UTC git show -s --date=format-local:%Y%m%d%H%M%S --format=%cd.%h HEAD)${dirty:+.dirty}
fi
printf '%s\n' "$version"
