#!/usr/bin/env bash
# nbdinfo, nbdcopy and qemu-img speak to an export as to any other.
# limit: 120
. "$(dirname "$0")/../lib/e2e.sh"
cluster_start
copyhold volume create disk --size 256M
copyhold volume create copy --size 256M
serve disk nbd.sock
disk=$URI

say "nbdinfo"
nbdinfo --json "$disk" | tee "$T/info"
jq -e '.exports[0] | .["export-size"] == 268435456 and .can_multi_conn and .can_fua and .can_flush and .can_trim and .can_zero
	and .block_size_minimum == 512 and .block_size_preferred == 4096' "$T/info" || fail "nbdinfo shows something else"
nbdinfo --map "$disk" | tee "$T/map"
expect_equal "allocated extents of an empty volume" "$(awk '$3 % 2 == 0' "$T/map" | wc -l)" 0

say "nbdcopy in and out"
truncate -s 256M "$T/image"
dd if=/dev/urandom of="$T/image" bs=1M count=48 seek=100 conv=notrunc status=none
dd if=/dev/urandom of="$T/image" bs=1 count=1000 seek=5000 conv=notrunc status=none
nbdcopy "$T/image" "$disk"
nbdcopy "$disk" "$T/back"
cmp "$T/image" "$T/back" || fail "nbdcopy: the copy differs"
allocated=$(nbdinfo --map --totals "$disk" | awk '$3 % 2 == 0 {print $1}')
[ "$allocated" -lt $((60 * 1024 * 1024)) ] || fail "$allocated bytes are allocated for 49 MiB of data"

say "qemu-img both ways"
qemu-img convert -f raw -O qcow2 "$disk" "$T/image.qcow2"
serve copy copy.sock
qemu-img convert -n -f qcow2 -O raw "$T/image.qcow2" "$URI"
qemu-img compare -f raw -F raw "$T/image" "$URI" || fail "qemu-img: the copy differs"

say "every volume as an export of one server"
nbdkit -f -U "$T/all.sock" "$BUILD/nbdkit-copyhold-plugin.so" "meta=$COPYHOLD_META" >"$T/all.log" 2>&1 &
on_exit "kill $!"
wait_for 20 "nbdkit listens" test -S "$T/all.sock"
names=$(nbdinfo --list --json "nbd+unix://?socket=$T/all.sock" | jq -r '[.exports[]."export-name"] | sort | join(" ")')
expect_equal "the list of exports" "$names" "copy disk"

say "swap=true locks what is used, and not much more than the 32 MiB that are kept ready"
copyhold volume create swap --size 64M
serve swap swap.sock swap=true
kibibytes() { sed -n "s/^$1:[^0-9]*\([0-9]*\).*/\1/p" "/proc/$SERVER_PID/status"; }
locks() { [ "$(kibibytes VmLck)" -ge 32768 ]; }
wait_for 10 "32 MiB are locked" locks
resident=$(kibibytes VmRSS)
[ "$resident" -ge 32768 ] && [ "$resident" -lt 131072 ] || fail "$resident KiB are resident"
qemu-io -f raw -c "write -P 5 0 32M" -c "read -P 5 0 32M" "$URI" | tee "$T/io"
! grep -q "verification failed" "$T/io" || fail "it reads something else"
