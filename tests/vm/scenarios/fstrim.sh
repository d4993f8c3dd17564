# limit: 400
# Discards reach the chunk servers: a deleted file's space is free again after fstrim.
needs_cluster
cluster
volume_make one 96
device=$(volume_attach one)
fs_make ext4 "$device"
mkdir -p /mnt/a && mount -t ext4 "$device" /mnt/a
inject_from_here
dd if=/dev/urandom of=/mnt/a/file bs=1M count=48 conv=fsync 2>/dev/null
step "the chunk servers have it"
allocated() { host volume-number one allocated_bytes; }
has_grown() { [ "$(allocated)" -gt $((48 << 20)) ]; }
has_shrunk() { [ "$(allocated)" -lt $((24 << 20)) ]; }
wait_for 150 has_grown
full=$(allocated)
step "rm and fstrim"
rm /mnt/a/file
sync
fstrim -v /mnt/a
wait_for 150 has_shrunk
say "shown: $full bytes before, $(allocated) after"
no_kernel_errors
umount /mnt/a
fs_check ext4 "$device"
volume_detach one
