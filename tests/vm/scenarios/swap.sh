# limit: 400
# memory: 384
# Swap space on a volume: more memory is used than there is, nbdkit is killed meanwhile, and every page comes back right.
cluster
volume_make one 256
if [ -n "$VM_STOCK" ]; then device=$(volume_attach one); else device=$(volume_attach one 1 --swap); fi
mkswap "$device" >/dev/null
swapon "$device"
if copyhold detach one 2>/tmp/refusal; then fail "swap space was detached"; fi
grep -q 'swap space' /tmp/refusal || fail "the refusal doesn't say that it is swap: $(cat /tmp/refusal)"
step "fill more memory than there is"
mkdir -p /mnt/t && mount -t tmpfs -o size=400m tmpfs /mnt/t
for i in 1 2 3 4 5 6 7; do
	dd if=/dev/urandom of=/mnt/t/$i bs=1M count=40 2>/dev/null
	sha256sum /mnt/t/$i >>/tmp/swap.sums
	if [ $i = 5 ]; then kill -9 "$(pid_of one nbdkit)"; fi
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
