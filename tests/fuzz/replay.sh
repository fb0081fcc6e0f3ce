#!/bin/sh
# replay.sh BUILD TARGET... - runs every fuzz target over its generated seeds and committed corpus.
set -e
build=$1
shift
for target in "$@"; do
    seeds=$build/fuzz/seeds/$target
    rm -rf "$seeds"
    mkdir -p "$seeds"
    "$build/fuzz/make_seeds" "$target" "$seeds"
    corpus=tests/fuzz/corpus/$target
    [ -d "$corpus" ] || corpus=
    "$build/fuzz/replay_$target" "$seeds" $corpus
done
