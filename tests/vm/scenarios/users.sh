# limit: 200
# What attached tells, and whom detach names when it refuses: a process that has the device open, swap, a mount, a mount in
# another namespace. By force it goes all the same.
needs_cluster
cluster
volume_make one 64
device=$(volume_attach one)
fs_make ext4 "$device"
mkdir -p /mnt/a && mount -t ext4 "$device" /mnt/a
inject_from_here
dd if=/dev/urandom of=/mnt/a/file bs=1M count=8 conv=fsync 2>/dev/null
step "attached"
copyhold attached >/tmp/attached
cat /tmp/attached
nbdkit=$(pid_of one nbdkit)
grep -E "^one +$device +running +nbd +$nbdkit +1 +[0-9.]+ [KM]iB +([89]|[1-9][0-9])(\.[0-9])? MiB +20[0-9-]+T[0-9:]+Z +/mnt/a *\$" /tmp/attached >/dev/null ||
	fail "attached doesn't tell volume, device, state, pid, sockets, IO, since when and where"
copyhold --json attached >/tmp/attached.json
for field in '"volume": "one"' "\"device\": \"$device\"" "\"pid\": $nbdkit" '"connections": 1' '"mountpoint": "/mnt/a"' '"restarts": 0' \
	'"write_bytes": [0-9]{7,}' '"since": "20'; do
	grep -qE "$field" /tmp/attached.json || { cat /tmp/attached.json; fail "no $field in attached --json"; }
done

# refused WORDS: detach says no, and these words.
refused() {
	if copyhold detach "$device" 2>/tmp/refusal; then fail "a device in use was detached"; fi
	say "refused: $(head -1 /tmp/refusal)"
	for word in "$@"; do
		grep -q "$word" /tmp/refusal || { cat /tmp/refusal; fail "the refusal doesn't say '$word'"; }
	done
}
step "a mount, and a file that is open in it"
sleep 1000 </mnt/a/file &
sleeper=$!
refused "mounted at /mnt/a" "umount /mnt/a"
kill $sleeper
wait $sleeper || :
step "a mount in another namespace only"
unshare -m sleep 1000 &
elsewhere=$!
is_elsewhere() { [ "$(readlink /proc/$elsewhere/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ]; }
wait_for 20 is_elsewhere
umount /mnt/a
refused "mounted at /mnt/a in the mount namespace of process $elsewhere"
kill $elsewhere
wait $elsewhere || :
not_used() { ! grep -q "$device" /proc/*/mountinfo 2>/dev/null; }
wait_for 20 not_used
step "a process that has the device open"
sleep 1000 <"$device" &
sleeper=$!
refused "process $sleeper"
kill $sleeper
wait $sleeper || :
step "swap space"
mkswap "$device" >/dev/null && swapon "$device"
refused "swap space" "swapoff"
swapoff "$device"
step "nobody"
copyhold detach "$device"
copyhold attached | grep -q one && fail "it is still attached"
if copyhold detach one 2>/tmp/refusal; then fail "what isn't attached was detached"; fi
grep -q "nothing named one is attached" /tmp/refusal || fail "the refusal is unclear: $(cat /tmp/refusal)"
step "by force"
device=$(volume_attach one)
fs_make ext4 "$device"
mount -t ext4 "$device" /mnt/a
copyhold detach one --force
grep -q " /mnt/a " /proc/mounts && fail "still mounted"
[ ! -e "/sys/block/${device#/dev/}/pid" ] || fail "still connected"
say "shown: each user was named"
