# limit: 400
# kill -9 of nbdkit under load on both filesystems, again and again: IO waits and goes on, no error, nothing lost.
cluster
for fs in ext4 xfs; do
	volume_make $fs 96
	device=$(volume_attach $fs)
	fs_make $fs "$device"
	mkdir -p /mnt/$fs && mount -t $fs "$device" /mnt/$fs
	head -c 3000000 /dev/urandom >/mnt/$fs/still
	sha256sum /mnt/$fs/still >>/tmp/still.sums
done
sync
step "load"
load_start ext4 /mnt/ext4/load 16
load_start xfs /mnt/xfs/load 16
io_goes_on nbd0 60
io_goes_on nbd1 60
for lap in 1 2 3; do
	for volume in ext4 xfs; do
		old=$(pid_of $volume nbdkit)
		step "lap $lap: kill -9 of nbdkit $old ($volume)"
		kill -9 "$old"
		wait_for 60 sh -c "[ -n '$(pid_of $volume nbdkit)' ]"
		io_goes_on "$(basename "/dev/nbd$(attachment $volume index)")" 60
		new=$(pid_of $volume nbdkit)
		[ "$new" != "$old" ] || fail "nbdkit was not replaced"
	done
done
step "judge"
load_stop ext4
load_stop xfs
say "shown: longest pause ext4 $(longest ext4) ms, xfs $(longest xfs) ms"
sync
echo 3 >/proc/sys/vm/drop_caches
sha256sum -c /tmp/still.sums
no_kernel_errors
for fs in ext4 xfs; do
	umount /mnt/$fs
	fs_check $fs "/dev/nbd$(attachment $fs index)"
	volume_detach $fs
done
