#!/usr/bin/env bash
# inspect and fsck of a disk that is not in use: they say what is there, find one flipped bit, and change nothing.
# limit: 90
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start --chunk-servers 1 --size 256M
copyhold volume create disk --size 64M --replicas 1 --chunk-size 64M
head -c $((8 * 1024 * 1024)) /dev/urandom >"$T/image"
serve disk nbd.sock
nbdcopy "$T/image" "$URI"
end_server "$SERVER_PID"
disk=$PLAYGROUND/chunkd-1.disk
expect_failure "in use" copyhold-chunkd fsck "$disk"
copyhold playground stop --dir "$PLAYGROUND"

before=$(sha256sum <"$disk")
copyhold-chunkd inspect "$disk" >"$T/inspect"
grep -q "^chunk 1:" "$T/inspect" || fail "inspect does not show the chunk: $(cat "$T/inspect")"
copyhold-chunkd fsck "$disk" || fail "fsck finds problems in a good disk"
expect_equal "the disk after inspect and fsck" "$(sha256sum <"$disk")" "$before"

say "one bit"
copyhold-chunkd inspect "$disk" --chunk 1 >"$T/units"
offset=$(grep -oP -m 1 'place \d+ at offset \K\d+' "$T/units")
byte=$(dd if="$disk" bs=1 skip="$offset" count=1 status=none | od -An -tu1)
printf '%b' "\\x$(printf %x $((byte ^ 1)))" | dd of="$disk" bs=1 seek="$offset" conv=notrunc status=none
expect_failure "chunk 1 .*checksum" copyhold-chunkd fsck "$disk"
copyhold-chunkd fsck "$disk" --quick || fail "the structures were not damaged"
