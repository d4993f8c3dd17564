# limit: 300
# Everyday life: both filesystems, verified load, checksums that survive a detach and another attach.
cluster
step "attach"
for fs in ext4 xfs; do
	volume_make $fs 96
	device=$(volume_attach $fs)
	[ "$(blockdev --getsize64 "$device")" = $((96 << 20)) ] || fail "$device has the wrong size"
	fs_make $fs "$device"
	mkdir -p /mnt/$fs && mount -t $fs "$device" /mnt/$fs
done
copyhold attached

step "verified load on both"
load_start ext4 /mnt/ext4/load 12
load_start xfs /mnt/xfs/load 12
io_goes_on nbd0 60
io_goes_on nbd1 60
sleep 5
load_stop ext4
load_stop xfs

step "files, their checksums, another attach"
for fs in ext4 xfs; do
	for i in 1 2 3 4; do
		mkdir -p /mnt/$fs/dir$i
		dd if=/dev/urandom of=/mnt/$fs/dir$i/file bs=64k count=$((i * 8)) 2>/dev/null
	done
	(cd /mnt/$fs && sha256sum load dir*/file >/tmp/$fs.sums)
	rm /mnt/$fs/dir3/file && sed -i '/dir3/d' /tmp/$fs.sums
	if volume_detach $fs 2>/tmp/refusal; then fail "a mounted device was detached"; fi
	grep -q "mounted at /mnt/$fs" /tmp/refusal || { cat /tmp/refusal; fail "the refusal doesn't name the mountpoint"; }
	umount /mnt/$fs
	volume_detach $fs
	device=$(volume_attach $fs)
	fs_check $fs "$device"
	mount -t $fs "$device" /mnt/$fs
	(cd /mnt/$fs && sha256sum -c /tmp/$fs.sums >/tmp/sums.out) || { cat /tmp/sums.out; fail "checksums differ on $fs"; }
	fstrim /mnt/$fs
	umount /mnt/$fs
	fs_check $fs "$device"
	volume_detach $fs
done
[ -z "$(ls /run/copyhold/nbd)" ] || fail "something is left in /run/copyhold/nbd"
no_kernel_errors
