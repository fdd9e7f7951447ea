#!/usr/bin/env bash
# Generates the protocol's code into a copy and compares: nothing in the work tree changes.
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
  echo "The committed code of the protocol is out of date: run make generate and commit what it changes." >&2
  exit 1
fi
