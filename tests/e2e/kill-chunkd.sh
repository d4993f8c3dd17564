#!/usr/bin/env bash
# SIGKILL of a chunk server under a mounted filesystem with load: no IO error, and everything is right afterwards.
# limit: 180
. "$(dirname "$0")/../lib/e2e.sh"
need_fuse
cluster_start
copyhold volume create disk --size 1G
attach disk
mkfs.ext4 -q "$DEVICE"
mount_device "$DEVICE" "$T/mnt"
errors_before=$(kernel_errors "$DEVICE")

fio --name=load --directory="$T/mnt" --size=96M --rw=randrw --bs=16k --direct=1 --ioengine=libaio --iodepth=8 \
	--time_based --runtime=15 --verify=crc32c --verify_fatal=1 --verify_backlog=256 --minimal >"$T/fio.log" 2>&1 &
load=$!
on_exit "kill $load"
wait_for 20 "the load runs" test -s "$T/mnt/load.0.0"
for round in 1 2; do
	wait_for 10 "IO goes on" writes_go_on "$DEVICE"
	say "round $round: SIGKILL of chunkd-1"
	cluster_kill chunkd-1
	wait_for 20 "IO goes on without it" writes_go_on "$DEVICE"
	cluster_restart
done
wait $load || fail "fio: $(cat "$T/fio.log")"
expect_equal "IO errors that the kernel saw" "$(kernel_errors "$DEVICE")" "$errors_before"
umount "$T/mnt"
e2fsck -fn "$DEVICE" || fail "the filesystem is damaged"
wait_until_healthy 90
copyhold detach "$DEVICE"
check_replicas
