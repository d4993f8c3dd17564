# limit: 300
# A new nbdkit takes the device over under load, one pause each time.
cluster
for fs in ext4 xfs; do
	volume_make $fs 96
	device=$(volume_attach $fs)
	fs_make $fs "$device"
	mkdir -p /mnt/$fs && mount -t $fs "$device" /mnt/$fs
	load_start $fs /mnt/$fs/load 16
done
io_goes_on nbd0 60
io_goes_on nbd1 60
for lap in 1 2; do
	for fs in ext4 xfs; do
		step "lap $lap: upgrade under load on $fs"
		nbdkit=$(pid_of $fs nbdkit)
		volume_upgrade $fs >/dev/null
		[ "$(pid_of $fs nbdkit)" != "$nbdkit" ] || fail "nbdkit was not replaced"
		io_goes_on "nbd$(attachment $fs index)" 60
	done
done
for fs in ext4 xfs; do
	load_stop $fs
	[ "$(attachment $fs restarts)" = 0 ] || fail "an upgrade counted as a failure"
done
say "shown: longest pause ext4 $(longest ext4) ms, xfs $(longest xfs) ms"
no_kernel_errors
for fs in ext4 xfs; do
	umount /mnt/$fs
	fs_check $fs "/dev/nbd$(attachment $fs index)"
	volume_detach $fs
done
