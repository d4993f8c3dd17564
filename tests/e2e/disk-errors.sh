#!/usr/bin/env bash
# A disk that returns EIO, under a chunk server of its own: on reads, others serve and the blocks are written anew; on writes, the chunk
# server reports that its disk has failed, is named with what to do, and takes no more writes. Users see no error, and no process ends.
# limit: 180
. "$(dirname "$0")/../lib/e2e.sh"
need_fuse
command -v nbdfuse >/dev/null || skip "needs nbdfuse"
nbdkit --filter=error null --dump-plugin >/dev/null 2>&1 || skip "needs nbdkit's error filter"
cluster_start --size 512M --chunk-servers 2

# The third disk: a file, behind nbdkit, which fails requests while $T/fail-reads or $T/fail-writes is there.
mkdir "$T/disk"
truncate -s 512M "$T/third"
nbdkit -f -U "$T/disk.sock" --filter=error file "$T/third" error=EIO \
	error-pread-rate=100% error-pread-file="$T/fail-reads" error-pwrite-rate=100% error-pwrite-file="$T/fail-writes" \
	>"$T/nbdkit-disk.log" 2>&1 &
DISK_PID=$!
on_exit "kill $DISK_PID"
wait_for 10 "the disk's nbdkit listens" test -S "$T/disk.sock"
nbdfuse "$T/disk/third" --unix "$T/disk.sock" >"$T/nbdfuse.log" 2>&1 &
FUSE_PID=$!
on_exit "kill $FUSE_PID; fusermount3 -u $T/disk || fusermount -u $T/disk"
wait_for 10 "the disk is there" test -e "$T/disk/third"
copyhold-chunkd format "$T/disk/third"
copyhold-chunkd run --data "$T/disk/third" --listen 127.0.0.1:0 --meta "$COPYHOLD_META" --node third >"$T/chunkd-third.log" 2>&1 &
THIRD_PID=$!
on_exit "kill $THIRD_PID"
three_up() { copyhold status --json | jq -e '.servers.up == 3'; }
wait_for 30 "three chunk servers are up" three_up
third() { copyhold server show 3 --json | jq -e ".server$1"; }

copyhold volume create disk --size 32M --chunk-size 16M
(seq -f 'block %010.0f here, and nothing else ---------------------------' 0 599999 2>/dev/null || true) | head -c $((32 * 1024 * 1024)) >"$T/image"
serve disk nbd.sock
nbdcopy "$T/image" "$URI"

say "EIO on reads"
touch "$T/fail-reads"
copyhold chunk scrub >/dev/null
met() { third '.stats.read_errors > 0'; }
wait_for 30 "the chunk server counts read errors" met
nbdcopy "$URI" "$T/back"
cmp "$T/image" "$T/back" || fail "wrong bytes were returned"
rm "$T/fail-reads"
mended() { third '.stats.repaired_blocks > 0'; }
wait_for 30 "blocks that could not be read are written anew" mended
process_is_alive "$THIRD_PID" || fail "the chunk server died of it"
copyhold chunk scrub --wait
expect_equal "unrepairable blocks" "$(copyhold job list --json | jq '.jobs[-1].damaged')" 0

say "EIO on writes"
touch "$T/fail-writes"
nbdcopy "$T/image" "$URI"
failed() { third '.state == "failed"'; }
wait_for 30 "the chunk server reports its disk failed" failed
copyhold status --json | jq -e '.health == "error" and any(.problems[]; (.what | test("The disk of chunk server 3 .* has failed")) and (.hint | test("Replace the disk")))' >/dev/null ||
	fail "status does not name it: $(copyhold status)"
process_is_alive "$THIRD_PID" || fail "the chunk server died of it"
nbdcopy "$URI" "$T/back"
cmp "$T/image" "$T/back" || fail "wrong bytes were returned"
say "no more writes, even if the disk has changed its mind"
rm "$T/fail-writes"
nbdcopy "$T/image" "$URI"
third '.state == "failed"' >/dev/null || fail "it takes writes again"
copyhold chunk list --json | jq -e 'all(.chunks[]; all(.replicas[]; .cid != 3))' >/dev/null || fail "chunk server 3 is still in a list: $(copyhold chunk list)"
end_server "$SERVER_PID"
