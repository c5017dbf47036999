#!/bin/sh
# The chart's objects on standard input, the same with firn on standard output.
set -eu
deploy=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$deploy/kubernetes" "$deploy/helm" "$work"
cat >"$work/helm/chart.yaml"
kubectl kustomize "$work/helm"
