#!/usr/bin/env bash
# What power-cut.sh checks can fail: with a chunk server that is told that its disk has power-loss protection, on a disk that has none,
# acknowledged writes are lost, and are found to be.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
need_fuse
need_space 300
# The new process, not what metad still remembers of the one before.
server_is_up() { copyhold server show 1 --json | jq -e ".server.stats.pid == $chunkd"; }

disks_with_log 1
cluster_start --chunk-servers 1
say "chunkd-1 is told that its disk never loses what it has taken"
cluster_kill chunkd-1
"$BUILD/copyhold-chunkd" run --data "$PLAYGROUND/chunkd-1.disk" --listen "$(cluster_address chunkd-1)" \
	--meta "$COPYHOLD_META" --power-loss-protected >"$T/chunkd-1.log" 2>&1 &
chunkd=$!
on_exit "kill $chunkd"
wait_for 30 "it is up" server_is_up
copyhold volume create disk --size 64M --chunk-size 4M --replicas 1
serve disk nbd.sock
nbd-journal write "$URI" "$T/journal" count=100 depth=16 region=$((8 << 20))
end_server "$SERVER_PID"
chunks=$(volume_chunks disk)
kill_process TERM $chunkd
release_disks

if power-cut check "$T/disk1.writes" "$T/journal" $((4 << 20)) "$chunks" every=20 >"$T/found"; then
	fail "nothing is lost on a disk that was never flushed: $(cat "$T/found")"
fi
tail -n 1 "$T/found"
[ "$(tail -n 1 "$T/found" | jq .lost)" -gt 10 ] || fail "hardly anything is lost: $(cat "$T/found")"
