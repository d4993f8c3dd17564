# limit: 400
# A mounted volume grows under load: the kernel's device follows at once, then the filesystem, and what is written into the new part
# is there after another attach. Both filesystems; once by the command on the attached host, once from elsewhere.
needs_cluster
cluster
for fs in ext4 xfs; do
	volume_make $fs 64
	device=$(volume_attach $fs)
	fs_make $fs "$device"
	mkdir -p /mnt/$fs && mount -t $fs "$device" /mnt/$fs
	load_start $fs /mnt/$fs/load 12
done
io_goes_on nbd0 60
io_goes_on nbd1 60

ms() { awk '{printf "%d", $1 * 1000}' /proc/uptime; }
# grow FS MEGABYTES COMMAND...: and tells how long the device took to follow.
grow() {
	gr_fs=$1 gr_mb=$2
	shift 2
	gr_device=/dev/nbd$(attachment $gr_fs index)
	step "$gr_fs: to $gr_mb MiB by $*"
	"$@" volume resize $gr_fs --size ${gr_mb}M
	gr_start=$(ms)
	has_size() { [ "$(blockdev --getsize64 "$gr_device")" = $((gr_mb << 20)) ]; }
	wait_for 20 has_size
	say "shown: $gr_fs: the device had the new size $(($(ms) - gr_start)) ms after the command"
	case $gr_fs in
	ext4) resize2fs "$gr_device" 2>&1 | tail -1 ;;
	xfs) xfs_growfs /mnt/xfs | tail -1 ;;
	esac
	[ "$(df -m /mnt/$gr_fs | awk 'END {print $2}')" -gt $((gr_mb - 22)) ] || fail "the filesystem has not grown: $(df -m /mnt/$gr_fs)"
	io_goes_on "${gr_device#/dev/}" 60
}
grow ext4 96 copyhold
grow xfs 96 host copyhold

step "the new parts take data"
for fs in ext4 xfs; do
	dd if=/dev/urandom of=/mnt/$fs/more bs=1M count=50 conv=fsync 2>/dev/null
	sha256sum /mnt/$fs/more >>/tmp/more.sums
done
if copyhold volume resize ext4 --size 32M --force 2>/tmp/refusal; then fail "an attached volume was made smaller"; fi
grep -q "attached" /tmp/refusal || fail "the refusal doesn't say why: $(cat /tmp/refusal)"
for fs in ext4 xfs; do
	load_stop $fs
	umount /mnt/$fs
	fs_check $fs "/dev/nbd$(attachment $fs index)"
	volume_detach $fs
	device=$(volume_attach $fs)
	[ "$(blockdev --getsize64 "$device")" = $((96 << 20)) ] || fail "another attach has another size"
	mount -t $fs "$device" /mnt/$fs
done
sha256sum -c /tmp/more.sums >/tmp/out || { cat /tmp/out; fail "the new part has other data"; }
say "shown: longest pause ext4 $(longest ext4) ms, xfs $(longest xfs) ms"
no_kernel_errors
for fs in ext4 xfs; do
	umount /mnt/$fs
	volume_detach $fs
done
