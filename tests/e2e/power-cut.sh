#!/usr/bin/env bash
# A power cut under real chunk servers, replayed: their disks are block devices that log every write and every flush; each disk that a
# cut at any of many moments could have left holds all that had been acknowledged by then; and the cluster starts on such disks.
# limit: 240
. "$(dirname "$0")/../lib/e2e.sh"
need_fuse
# Longer: POWER_CUT_WRITES=2000 POWER_CUT_EVERY=1 POWER_CUT_STARTS=6
: "${POWER_CUT_WRITES:=400}" "${POWER_CUT_EVERY:=5}" "${POWER_CUT_STARTS:=2}"
need_space $((500 + POWER_CUT_WRITES / 2))
# Two records of 24 bytes each.
has_writes() { [ "$(stat -c %s "$T/journal")" -ge $(($1 * 48)) ]; }

disks_with_log 3
cluster_start
copyhold volume create disk --size 64M --chunk-size 4M
serve disk nbd.sock
say "writing"
nbd-journal write "$URI" "$T/journal" seconds=100 depth=16 region=$((8 << 20)) >"$T/written" &
writer=$!
wait_for 100 "$POWER_CUT_WRITES writes are acknowledged" has_writes "$POWER_CUT_WRITES"
# All of it ends as in a power cut: in order, the meta service would be told how far the replicas are now, not at the time of a cut.
kill_process KILL "$SERVER_PID"
for name in chunkd-1 chunkd-2 chunkd-3; do cluster_kill "$name"; done
wait $writer && fail "the writer did not notice"
power-cut instants "$T/journal" "$POWER_CUT_STARTS" >"$T/instants"
chunks=$(volume_chunks disk)
cluster_kill metad
release_disks
cp -a "$PLAYGROUND/metad" "$T/metad"

say "cutting the power at every flush, and between"
for disk in 1 2 3; do
	# One disk thoroughly, the others at fewer moments: they got the same writes.
	power-cut check "$T/disk$disk.writes" "$T/journal" $((4 << 20)) "$chunks" seed=$((disk * 1000000)) \
		every=$((disk == 1 ? POWER_CUT_EVERY : 50)) fsck=200 || fail "acknowledged writes are lost"
done

how=0
while read -r instant; do
	say "the cluster on what a cut at $instant left"
	how=$((how % 3 + 1))
	for disk in 1 2 3; do
		rm "$PLAYGROUND/chunkd-$disk.disk"
		power-cut image "$T/disk$disk.writes" "$PLAYGROUND/chunkd-$disk.disk" time="$instant" how=$how seed=$disk
		copyhold-chunkd fsck "$PLAYGROUND/chunkd-$disk.disk"
	done
	rm -r "$PLAYGROUND/metad"
	cp -a "$T/metad" "$PLAYGROUND/metad"
	cluster_restart
	wait_until_free disk
	serve disk nbd.sock io_timeout=60
	nbd-journal verify "$URI" "$T/journal" until="$instant" || fail "acknowledged writes are lost"
	end_server "$SERVER_PID"
	wait_until_healthy
	check_replicas
	copyhold playground stop --dir "$PLAYGROUND"
done <"$T/instants"
