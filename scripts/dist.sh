#!/bin/bash
# Makes what is published: for each architecture a static program in a .tar.gz,
# a .deb and an .rpm, and SHA256SUMS. The same commit gives the same bytes,
# whenever and wherever: there is no date in them but the commit's.
#   [VERSION=1.2.3] [SOURCE_DATE_EPOCH=SECONDS] scripts/dist.sh FOLDER [ARCHITECTURE...]
# Needs nfpm in $PATH; "make dist" installs it.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022
fail() { echo "$*" >&2; exit 1; }
[ $# -ge 1 ] || fail "usage: scripts/dist.sh FOLDER [ARCHITECTURE...]"
out=$(realpath -m "$1")
shift
[ $# -gt 0 ] || set -- amd64 arm64
cd "$(dirname "$0")/.."
for tool in nfpm go tar gzip; do
	command -v "$tool" >/dev/null || fail "$tool is missing: run make dist"
done
VERSION=$(scripts/dist-version.sh)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git show -s --format=%ct HEAD)}
DATE=$(date -R -d "@$SOURCE_DATE_EPOCH")
export VERSION SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() { # ARCHITECTURE FILE
	CGO_ENABLED=0 GOOS=linux GOARCH=$1 go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.buildVersion=$VERSION" -o "$2" ./cmd/firn
}

# The tree of the .tar.gz; the packages take their files from it.
common() {
	local to=$1
	mkdir -p "$to"/{docs,scripts,completion,man}
	cp README.md LICENSE "$to"
	cp docs/*.md docs/*.svg "$to/docs"
	cp -r deploy "$to"
	cp scripts/restore.sh "$to/scripts"
	for shell in bash zsh fish; do "$work/firn" completion $shell >"$to/completion/firn.$shell"; done
	"$work/firn" manpages "$to/man"
}

packages() { # ARCHITECTURE FOLDER
	local p
	export ARCH=$1
	mkdir "$2/packed"
	gzip -9n "$2"/man/*
	gzip -9n <"$2/docs/operating.md" >"$2/packed/operating.md.gz"
	gzip -9n >"$2/packed/changelog.gz" <<-END
		firn ($VERSION) unstable; urgency=medium

		  * Made from the source of that version; its history tells what changed.

		 -- The firn authors <chipster@users.noreply.github.com>  $DATE
	END
	for p in deb rpm; do
		(cd "$2" && nfpm package --config deploy/packages/nfpm.yaml --packager "$p" --target "$out/" >/dev/null)
	done
}

mkdir -p "$out"
rm -f "$out"/firn[_-]* "$out/SHA256SUMS"
host=$(go env GOHOSTARCH)
build "$host" "$work/firn"
common "$work/common"
for arch; do
	name=firn_${VERSION}_linux_$arch
	cp -r "$work/common" "$work/$name"
	if [ "$arch" = "$host" ]; then cp "$work/firn" "$work/$name"; else build "$arch" "$work/$name/firn"; fi
	tar -c -C "$work" --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u+w,go=u,go-w "$name" |
		gzip -9n >"$out/$name.tar.gz"
	packages "$arch" "$work/$name"
done
cd "$out"
sha256sum firn[_-]* >SHA256SUMS
