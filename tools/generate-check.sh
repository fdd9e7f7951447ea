#!/usr/bin/env bash
# Checks that the generated code of the protocol is up to date. It generates into a copy, so the work tree does not change.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

mkdir -p "$copy/tools"
cp -r proto go.mod go.sum "$copy"
cp -r tools/buf tools/protoc-gen "$copy/tools"
find "$copy/proto" -name '*.pb.go' -delete
(cd "$copy" && git init -q && make -s -f "$OLDPWD/Makefile" generate)

if ! diff -ru --exclude='*.binpb' proto "$copy/proto"; then
  echo "generate-check: the generated code of the protocol is out of date: run make generate and commit the changes." >&2
  exit 1
fi
