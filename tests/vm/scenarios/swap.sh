# limit: 400
# memory: 448
# Swap space on a volume: more memory is used than there is, nbdkit is killed meanwhile, and every page comes back right.
cluster
volume_make one 256
if [ -n "$VM_STOCK" ]; then device=$(volume_attach one); else device=$(volume_attach one 1 --swap); fi
mkswap "$device" >/dev/null
inject_from_here
swapon "$device"
step "swap is on"
# Swapping itself needs memory: for the requests, the connections to the chunk servers, a new nbdkit.
echo 65536 >/proc/sys/vm/min_free_kbytes
if copyhold detach one 2>/tmp/refusal; then fail "swap space was detached"; fi
grep -q 'swap space' /tmp/refusal || fail "the refusal doesn't say that it is swap: $(cat /tmp/refusal)"
step "fill more memory than there is"
mkdir -p /mnt/t && mount -t tmpfs -o size=400m tmpfs /mnt/t
for i in 1 2 3 4 5; do
	dd if=/dev/urandom of=/mnt/t/$i bs=1M count=40 2>/dev/null
	sha256sum /mnt/t/$i >>/tmp/swap.sums
	step "$i: $(awk 'NR == 2 {print $4}' /proc/swaps) KiB in swap"
	if [ $i = 4 ]; then kill -9 "$(pid_of one nbdkit)"; fi
done
used=$(awk 'NR == 2 {print $4}' /proc/swaps)
[ "$used" -gt 20000 ] || fail "only $used KiB were swapped"
step "read it back"
sha256sum -c /tmp/swap.sums >/tmp/out || { cat /tmp/out; fail "memory was changed"; }
say "shown: $used KiB in swap"
umount /mnt/t
swapoff "$device"
no_kernel_errors
volume_detach one
