#!/bin/sh
# The tests of the packages that have code of their own for arm64, and of those
# named besides, on an emulated processor that has all its extensions.
set -eu
cd "$(dirname "$0")/.."
scripts/packages.sh qemu-user
CGO_ENABLED=0 GOARCH=arm64 go test -short -exec 'qemu-aarch64 -cpu max' ./internal/cfb ./internal/sha512x2 "$@"
