# limit: 400
# memory: 1024
# init: /vm/boot
# systemd really boots (tests/vm/guest/boot): the unit waits for the network, attaches the volume and mounts it; a killed
# supervisor is started again and takes over; at shutdown the filesystem is unmounted and the volume detached while the
# network is still up (tests/vm/guest/boot-judge). This part runs when multi-user.target is reached.
echo 1 >/vm-status
unit=copyhold-attach@data.service
inject_from_here
step "attached and mounted at boot"
systemctl is-active $unit || { systemctl status $unit --no-pager; journalctl -b -u $unit --no-pager; fail "the unit is not active"; }
[ "$(cat /srv/data/file)" = "written before the boot" ] || fail "the volume is not mounted"
grep -q '^/dev/nbd5 /srv/data ext4' /proc/mounts || fail "another device is mounted"
[ "$(systemctl show -p MainPID --value $unit)" = "$(pid_of data supervisor)" ] || fail "systemd follows another process"

step "kill -9 of the supervisor: systemd starts one that takes over"
old=$(pid_of data supervisor)
nbdkit=$(pid_of data nbdkit)
kill -9 "$old"
is_new() { [ "$(pid_of data supervisor)" != "$old" ] && systemctl -q is-active $unit; }
wait_for 60 is_new
[ "$(pid_of data nbdkit)" = "$nbdkit" ] || fail "nbdkit was replaced"
[ "$(systemctl show -p MainPID --value $unit)" = "$(pid_of data supervisor)" ] || fail "systemd follows another process"
echo "written after it" >/srv/data/more && sync

step "reload: a new nbdkit"
systemctl reload $unit
is_replaced() { [ "$(pid_of data nbdkit)" != "$nbdkit" ]; }
wait_for 60 is_replaced
[ "$(cat /srv/data/more)" = "written after it" ] || fail "the file is gone"
dd if=/srv/data/more of=/dev/null iflag=direct bs=4k 2>/dev/null || fail "no read"

step "stop and start by hand"
systemctl stop $unit
if grep -q /srv/data /proc/mounts; then fail "still mounted"; fi
[ ! -e /sys/block/nbd5/pid ] || fail "still attached"
systemctl start $unit
[ "$(cat /srv/data/more)" = "written after it" ] || fail "the file is gone after another attach"
no_kernel_errors
step "shutdown"
echo 0 >/vm-status
