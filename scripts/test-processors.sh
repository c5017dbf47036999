#!/bin/sh
# The tests of the packages that have code of their own for processors, on
# emulated ones: arm64, and amd64 without any extension, with AES, and with AVX2.
# None is emulated with AVX-512: that is tested where the machine has it.
set -eu
cd "$(dirname "$0")/.."
scripts/packages.sh qemu-user
export CGO_ENABLED=0
tests() { # tests ARCHITECTURE EMULATOR
	echo "== $2"
	GOARCH=$1 go test -short -exec "$2" ./internal/cfb ./internal/sha512x2
}
tests arm64 "qemu-aarch64 -cpu max"
for processor in qemu64 Westmere,+aes Haswell; do
	tests amd64 "qemu-x86_64 -cpu $processor"
done
