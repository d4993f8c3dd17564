#!/usr/bin/env bash
# attach, attached and detach: what they refuse, what they clear away, and that nothing is left behind.
# limit: 150
. "$(dirname "$0")/../lib/e2e.sh"
need_fuse
cluster_start
copyhold volume create disk --size 256M
attached_count() { copyhold attached --json | jq '.attached | length'; }
leftovers() { find "$COPYHOLD_RUNTIME" -mindepth 2 | wc -l; }

say "what can't be attached leaves nothing"
expect_failure "nothere" copyhold attach nothere --fuse
expect_failure "loop" copyhold attach disk /dev/sda --fuse
expect_equal "attached" "$(attached_count)" 0
expect_equal "leftovers" "$(leftovers)" 0

attach disk
first=$DEVICE
copyhold attached
copyhold attached --json | jq -e --arg device "$first" '.attached[0] | .volume == "disk" and .device == $device and .alive and .mountpoint == null' ||
	fail "$(copyhold attached --json)"
copyhold volume show disk --json | jq -e '.volume.attached.alive' || fail "the meta service does not know"
expect_failure "attached by" copyhold attach disk --fuse
expect_failure "attached" copyhold volume delete disk

say "a mounted device is not detached"
mkfs.ext4 -q "$first"
mount_device "$first" "$T/mnt"
expect_failure "mounted on $T/mnt" copyhold detach disk
expect_equal "its mountpoint" "$(copyhold attached --json | jq -r '.attached[0].mountpoint')" "$T/mnt"
echo content >"$T/mnt/file"
umount "$T/mnt"
copyhold detach "$first"
expect_equal "leftovers" "$(leftovers)" 0
expect_failure "nothing named" copyhold detach disk

say "stopping the playground under an attached volume: its IO waits, and goes on"
attach disk
copyhold playground stop --dir "$PLAYGROUND" 2>&1 | tee "$T/stop.out"
grep -q "volume disk is still attached as $DEVICE" "$T/stop.out" || fail "nothing is said about the attached volume"
dd if="$DEVICE" of=/dev/null bs=1M count=8 iflag=direct &
reader=$!
copyhold playground start --dir "$PLAYGROUND"
wait $reader || fail "reading failed"
copyhold detach disk

say "read-only"
DEVICE=$(copyhold attach disk --fuse --read-only)
mount -o ro,noload "$DEVICE" "$T/mnt"
expect_equal "the file" "$(cat "$T/mnt/file")" content
umount "$T/mnt"
expect_failure "." dd if=/dev/zero of="$DEVICE" bs=4k count=1 oflag=direct
copyhold detach disk

say "after a crash of nbdkit the next attach clears away"
attach disk
pid=$(copyhold attached --json | jq '.attached[0].pid')
kill_process KILL "$pid"
copyhold attached --json | jq -e '.attached[0].alive == false' || fail "$(copyhold attached --json)"
wait_until_free disk
attach disk
expect_equal "attached" "$(attached_count)" 1
mount_device "$DEVICE" "$T/mnt"
expect_equal "the file" "$(cat "$T/mnt/file")" content
umount "$T/mnt"
copyhold detach disk
expect_equal "leftovers" "$(leftovers)" 0
copyhold volume delete disk
