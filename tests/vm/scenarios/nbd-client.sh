# limit: 300
# Plain nbd-client: list, attach by name over a Unix socket and TCP, with 4 KiB blocks, several connections, TLS, as swap.
needs_cluster
cluster
volume_make one 64
volume_make two 64
plugin=/opt/copyhold/bin/nbdkit-copyhold-plugin.so
modprobe nbd
step "list"
nbdkit -f -U /tmp/nbd.sock $plugin meta="$COPYHOLD_META" 2>/tmp/nbdkit.log &
unix=$!
wait_for 20 test -S /tmp/nbd.sock
nbd-client -l -unix /tmp/nbd.sock >/tmp/list 2>&1 || :
grep -q '^one' /tmp/list && grep -q '^two' /tmp/list || { cat /tmp/list; fail "nbd-client -l doesn't list the volumes"; }
step "a Unix socket, two volumes at once, four connections, 4 KiB blocks"
nbd-client -unix /tmp/nbd.sock /dev/nbd0 -N one -C 4 -block-size 4096 -persist
nbd-client -unix /tmp/nbd.sock /dev/nbd1 -N two
[ "$(cat /sys/block/nbd0/queue/logical_block_size)" = 4096 ] || fail "blocks are not of 4096 bytes"
fs_make ext4 /dev/nbd0
mkdir -p /mnt/a && mount -t ext4 /dev/nbd0 /mnt/a
inject_from_here
head -c 5000000 /dev/urandom >/mnt/a/file
sum=$(sha256sum </mnt/a/file)
umount /mnt/a
mkswap /dev/nbd1 >/dev/null && swapon /dev/nbd1 && swapoff /dev/nbd1
nbd-client -d /dev/nbd0
nbd-client -d /dev/nbd1
kill $unix
wait $unix || :
step "TCP"
nbdkit -f -p 10809 $plugin meta="$COPYHOLD_META" 2>>/tmp/nbdkit.log &
tcp=$!
wait_for 20 sh -c 'nbd-client -l 127.0.0.1 | grep -q one'
nbd-client 127.0.0.1 /dev/nbd2 -N one -C 4
mount -t ext4 /dev/nbd2 /mnt/a
[ "$(sha256sum </mnt/a/file)" = "$sum" ] || fail "another attach has other data"
umount /mnt/a
fs_check ext4 /dev/nbd2
nbd-client -d /dev/nbd2
kill $tcp
wait $tcp || :
step "TLS"
make-certificates /tmp/tls
nbdkit -f -p 10810 --tls=require --tls-certificates=/tmp/tls --tls-verify-peer $plugin meta="$COPYHOLD_META" 2>>/tmp/nbdkit.log &
tls=$!
with_tls() { nbd-client "$@" -certfile /tmp/tls/client-cert.pem -keyfile /tmp/tls/client-key.pem -cacertfile /tmp/tls/ca-cert.pem; }
lists_with_tls() { with_tls -l 127.0.0.1 10810 >/tmp/list 2>&1; grep -q '^one' /tmp/list; }
wait_for 60 lists_with_tls
if nbd-client 127.0.0.1 10810 /dev/nbd3 -N one >/tmp/refusal 2>&1; then fail "a client without TLS got in"; fi
with_tls 127.0.0.1 10810 /dev/nbd4 -N one
mount -t ext4 /dev/nbd4 /mnt/a
[ "$(sha256sum </mnt/a/file)" = "$sum" ] || fail "other data over TLS"
head -c 3000000 /dev/urandom >/mnt/a/more
more=$(sha256sum </mnt/a/more)
umount /mnt/a
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 /dev/nbd4 /mnt/a
[ "$(sha256sum </mnt/a/more)" = "$more" ] || fail "what was written over TLS is not what is read"
umount /mnt/a
fs_check ext4 /dev/nbd4
nbd-client -d /dev/nbd4
kill $tls
wait $tls || :
no_kernel_errors
