# limit: 400
# The supervisor dies, alone and together with nbdkit, under load; whoever attaches again takes the device over.
cluster
volume_make one 96
device=$(volume_attach one)
fs_make ext4 "$device"
mkdir -p /mnt/a && mount -t ext4 "$device" /mnt/a
load_start one /mnt/a/load 16
io_goes_on nbd0 60

step "kill -9 of the supervisor: IO goes on without it"
nbdkit=$(pid_of one nbdkit)
supervisor=$(pid_of one supervisor)
kill -9 "$supervisor"
io_goes_on nbd0 60
copyhold attached | grep -q dead || fail "attached doesn't show that the supervisor is dead"
[ "$(volume_attach one)" = "$device" ] || fail "taking over gave another device"
[ "$(pid_of one nbdkit)" = "$nbdkit" ] || fail "nbdkit was replaced for no reason"
[ "$(pid_of one supervisor)" != "$supervisor" ] || fail "there is no new supervisor"
copyhold attached | grep -q running || fail "attached doesn't show a running attachment"

step "the new one does its work: kill -9 of nbdkit"
kill -9 "$nbdkit"
io_goes_on nbd0 60
[ "$(pid_of one nbdkit)" != "$nbdkit" ] || fail "nbdkit was not replaced"

step "kill -9 of both: IO waits"
kill -9 "$(pid_of one supervisor)" "$(pid_of one nbdkit)"
sleep 3
[ "$(volume_attach one)" = "$device" ] || fail "taking over gave another device"
io_goes_on nbd0 60

step "the state is lost as well: the kernel knows which volume the device belongs to"
kill -9 "$(pid_of one supervisor)" "$(pid_of one nbdkit)"
rm -r /run/copyhold/nbd/one
[ "$(volume_attach one)" = "$device" ] || fail "taking over gave another device"
io_goes_on nbd0 60

load_stop one
say "shown: longest pause $(longest one) ms"
no_kernel_errors
umount /mnt/a
fs_check ext4 "$device"
volume_detach one
