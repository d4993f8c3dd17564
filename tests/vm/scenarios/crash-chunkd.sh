# limit: 400
# Chunk servers die and come back under a mounted filesystem: IO pauses, goes on with those that are left, and the replicas
# are whole again in the end.
needs_cluster
cluster
volume_make one 96
device=$(volume_attach one)
fs_make ext4 "$device"
mkdir -p /mnt/a && mount -t ext4 "$device" /mnt/a
load_start one /mnt/a/load 16
io_goes_on nbd0 60
for server in 1 2; do
	step "kill -9 of chunk server $server"
	host kill chunkd-$server
	io_goes_on nbd0 60
	sleep 3
	io_goes_on nbd0 60
	step "chunk server $server is back"
	host start-chunkd $server
	host await-healthy one
	io_goes_on nbd0 60
done
load_stop one
say "shown: longest pause $(longest one) ms"
no_kernel_errors
umount /mnt/a
fs_check ext4 "$device"
volume_detach one
