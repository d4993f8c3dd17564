# limit: 400
# cpus: 2
# Four connections to one volume, jobs in parallel; nbdkit is killed once: the kernel's own 30 s pass, and no error.
cluster
volume_make one 96
device=$(volume_attach one 4)
# The kernel spreads its processors over the connections: with two of them two are used, the others stand by.
[ "$(ls /sys/block/nbd0/mq | wc -l)" -ge 2 ] || fail "the kernel uses one connection only"
copyhold --json attached | grep -q '"connections": 4' || fail "attached doesn't show four connections"
fs_make xfs "$device"
mkdir -p /mnt/a && mount -t xfs "$device" /mnt/a
for i in 1 2 3 4; do load_start job$i /mnt/a/load$i 4; done
io_goes_on nbd0 60
sleep 10
kill -9 "$(pid_of one nbdkit)"
sleep 2
step "nbdkit was killed"
io_goes_on nbd0 60
four() { copyhold --json attached | grep -q '"connections": 4'; }
wait_for 30 four
# Those whose requests were under way wait for the kernel.
sleep 35
for i in 1 2 3 4; do load_stop job$i; done
say "shown: longest pause $(longest job1) ms"
no_kernel_errors
umount /mnt/a
fs_check xfs "$device"
volume_detach one
