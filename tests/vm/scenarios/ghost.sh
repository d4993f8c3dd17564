# limit: 500
# Ghost writes: a first copy of a write that lands after its repeat and a later write would undo the later one. Small hot
# files are overwritten again and again, and each block is checked against its last acknowledged write, while first copies
# are made to linger: in a killed nbdkit, in one that was stopped for longer than the kernel waits, in a chunk server that
# was stopped past everyone's patience and goes on later.
needs_cluster
cluster
volume_make one 96
device=$(volume_attach one)
fs_make ext4 "$device"
mkdir -p /mnt/a && mount -t ext4 "$device" /mnt/a
load_start hot /mnt/a/hot 1 --verify_backlog=32
io_goes_on nbd0 60

step "nbdkit killed with writes in flight, five times"
for lap in 1 2 3 4 5; do
	kill -9 "$(pid_of one nbdkit)"
	io_goes_on nbd0 60
done

step "a chunk server stopped for 10 s, then continued"
host signal chunkd-2 STOP
io_goes_on nbd0 60
sleep 10
host signal chunkd-2 CONT
io_goes_on nbd0 60
host await-healthy one
io_goes_on nbd0 60

step "a chunk server stopped, nbdkit killed meanwhile, the server continued: its old requests come from an older epoch"
host signal chunkd-3 STOP
kill -9 "$(pid_of one nbdkit)"
io_goes_on nbd0 60
host signal chunkd-3 CONT
io_goes_on nbd0 60
host await-healthy one

step "nbdkit stopped for 40 s: with one connection the kernel repeats nothing"
nbdkit=$(pid_of one nbdkit)
kill -STOP "$nbdkit"
sleep 40
kill -CONT "$nbdkit"
io_goes_on nbd0 60
load_stop hot
umount /mnt/a
fs_check ext4 "$device"
volume_detach one

step "the same with two connections: the kernel gives the stopped one up and repeats; a new process takes over"
device=$(volume_attach one 2)
mount -t ext4 "$device" /mnt/a
load_start hot /mnt/a/hot 1 --verify_backlog=32
io_goes_on nbd0 60
nbdkit=$(pid_of one nbdkit)
kill -STOP "$nbdkit"
wait_for 60 sh -c "! kill -0 $nbdkit"
io_goes_on nbd0 60
load_stop hot
say "shown: longest pause $(longest hot) ms (the kernel's own 30 s, for a stopped nbdkit)"
no_kernel_errors
umount /mnt/a
fs_check ext4 "$device"
volume_detach one
