# limit: 400
# stock: yes
# A volume grows while it is mounted: the kernel's device follows at once, the filesystem too. (On nbdkit's file plugin: what is
# tested is the supervisor's and the kernel's part.)
volume_make one 64
device=$(volume_attach one)
fs_make ext4 "$device"
mkdir -p /mnt/a && mount -t ext4 "$device" /mnt/a
load_start one /mnt/a/load 16
io_goes_on nbd0 60
step "from 64 to 96 MiB"
truncate -s 96M /tmp/volume.one
has_size() { [ "$(blockdev --getsize64 "$device")" = $((96 << 20)) ]; }
wait_for 20 has_size
resize2fs "$device" 2>&1 | tail -1
[ "$(df -m /mnt/a | awk 'END {print $2}')" -gt 75 ] || fail "the filesystem has not grown"
step "the new part takes data"
dd if=/dev/urandom of=/mnt/a/more bs=1M count=50 conv=fsync 2>/dev/null
sum=$(sha256sum </mnt/a/more)
io_goes_on nbd0 60
load_stop one
echo 3 >/proc/sys/vm/drop_caches
[ "$(sha256sum </mnt/a/more)" = "$sum" ] || fail "wrong data in the new part"
no_kernel_errors
umount /mnt/a
fs_check ext4 "$device"
volume_detach one
