# limit: 400
# The meta service is away: IO on leased chunks doesn't notice. It comes back, and everything that needs it works again.
needs_cluster
cluster
volume_make one 96
device=$(volume_attach one)
fs_make xfs "$device"
mkdir -p /mnt/a && mount -t xfs "$device" /mnt/a
load_start one /mnt/a/load 16
io_goes_on nbd0 60
step "kill -9 of metad"
host kill metad
for i in 1 2 3 4 5; do
	sleep 3
	io_goes_on nbd0 60
done
step "metad is back"
host start-metad
host await-servers 3
io_goes_on nbd0 60
step "a new nbdkit needs it: leases, a session"
kill -9 "$(pid_of one nbdkit)"
io_goes_on nbd0 60
step "both are away, and come back"
host kill metad
kill -9 "$(pid_of one nbdkit)"
sleep 5
host start-metad
io_goes_on nbd0 60
load_stop one
say "shown: longest pause $(longest one) ms (of which 5 s without metad and nbdkit)"
no_kernel_errors
umount /mnt/a
fs_check xfs "$device"
volume_detach one
