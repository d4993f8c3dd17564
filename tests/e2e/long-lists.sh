#!/usr/bin/env bash
# Lists longer than one answer of the meta service are shown whole.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 8G --chunk-size 4M
serve disk nbd.sock
for ((i = 0; i < 1100; i++)); do
	printf 'write -q -P 1 %d 4k\n' $((i * 4194304))
done >"$T/commands"
qemu-io -f raw "$URI" <"$T/commands" >"$T/qemu-io.out" 2>&1 || fail "$(tail -n 3 "$T/qemu-io.out")"

expect_equal "chunks of the volume" "$(copyhold volume show disk --json | jq .volume.chunk_count)" 1100
copyhold chunk list --json >"$T/list"
expect_equal "chunks listed" "$(jq '.chunks | length' "$T/list")" 1100
expect_equal "different ones" "$(jq '[.chunks[].chunk] | unique | length' "$T/list")" 1100
expect_equal "of the volume" "$(copyhold chunk list --volume disk --json | jq '[.chunks[].index] | unique | length')" 1100
expect_equal "the rest of a list" "$(jq 'has("next")' "$T/list")" false
