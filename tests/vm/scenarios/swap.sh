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
swapped() { awk 'NR == 2 {print $4}' /proc/swaps; }
# How much there is besides depends on the kernel: on until enough has gone out, with a crash once some has.
i=0 killed=
until [ "$(swapped)" -gt 40000 ] && [ -n "$killed" ]; do
	i=$((i + 1))
	[ $i -le 9 ] || fail "only $(swapped) KiB were swapped"
	dd if=/dev/urandom of=/mnt/t/$i bs=1M count=40 2>/dev/null
	sha256sum /mnt/t/$i >>/tmp/swap.sums
	step "$i: $(swapped) KiB in swap"
	if [ -z "$killed" ] && [ "$(swapped)" -gt 1000 ]; then
		killed=1
		kill -9 "$(pid_of one nbdkit)"
	fi
done
used=$(swapped)
step "read it back"
sha256sum -c /tmp/swap.sums >/tmp/out || { cat /tmp/out; fail "memory was changed"; }
say "shown: $used KiB in swap"
umount /mnt/t
swapoff "$device"
no_kernel_errors
volume_detach one
