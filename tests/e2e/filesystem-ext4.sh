#!/usr/bin/env bash
# ext4 on an attached volume: verified random IO, then everything again after unmount, detach and a new attach.
# limit: 180
. "$(dirname "$0")/../lib/e2e.sh"
need_fuse
cluster_start
copyhold volume create disk --size 1G
attach disk
mkfs.ext4 -q "$DEVICE"
mount_device "$DEVICE" "$T/mnt"

load=(--name=verify --directory="$T/mnt" --size=128M --rw=randrw --bsrange=512-128k --blockalign=512
	--ioengine=libaio --iodepth=16 --verify=crc32c --verify_fatal=1 --io_size=160M --randseed=7)
say "writing and verifying"
fio "${load[@]}" --minimal >"$T/fio.log" || fail "fio: $(cat "$T/fio.log")"
cp -a /usr/include "$T/mnt/tree"
(cd "$T/mnt" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$T/sums"
umount "$T/mnt"

say "attaching it anew"
copyhold detach "$DEVICE"
attach disk
e2fsck -fn "$DEVICE" || fail "the filesystem is damaged"
mount_device "$DEVICE" "$T/mnt"
(cd "$T/mnt" && sha256sum --quiet -c "$T/sums") || fail "files differ"
umount "$T/mnt"
copyhold detach "$DEVICE"
wait_until_healthy
check_replicas
