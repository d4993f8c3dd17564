# What scenarios use in the guest.

last_step=start

say() { echo "vm: $(cut -d' ' -f1 /proc/uptime) $*"; }
step() { last_step=$*; say "$*"; }
fail() { say "FAIL: $*"; exit 1; }

# host COMMAND ARGS…: have the host act (start, kill, stop a server), wait until it has; its output is ours, its status too.
stty -F /dev/ttyS1 raw -echo 2>/dev/null || stty raw -echo </dev/ttyS1
exec 3<>/dev/ttyS1
host() {
	echo "host: $*" >&3
	while read -r host_line <&3; do
		case $host_line in
		"host-ok") return 0 ;;
		"host-fail"*) say "host: '$*' ${host_line#host-}"; return 1 ;;
		*) echo "$host_line" ;;
		esac
	done
	return 1
}

# wait_for SECONDS COMMAND…: until the command succeeds; the limit only ends a test that hangs.
wait_for() {
	wf_end=$(($(cut -d. -f1 /proc/uptime) + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(cut -d. -f1 /proc/uptime)" -lt "$wf_end" ] || fail "waited in vain for: $*"
		usleep 50000
	done
}

# The kernel's verdict: no IO error and no broken journal since boot.
kernel_errors() {
	dmesg | grep -E 'I/O error|Buffer I/O|Aborting journal|Remounting filesystem read-only|EXT4-fs error|EXT4-fs warning.*(error|failed)|XFS.*(metadata I/O error|Corruption|Shutting down|log I/O error)|Other side returned error|shutdown|hung_task|blocked for more' | grep -v "nbd.*shutting down sockets"
}
no_kernel_errors() {
	if kernel_errors >/tmp/kernel-errors; then
		cat /tmp/kernel-errors
		fail "the kernel saw errors"
	fi
}

show_state() {
	echo "--- last kernel messages"; dmesg | tail -40
	echo "--- /run/copyhold"
	for f in /run/copyhold/*/*; do [ -f "$f" ] && { echo "== $f"; tail -c 2500 "$f"; }; done
	echo "--- processes"; ps | grep -v '\[' | tail -30
}

# fs_make ext4|xfs DEVICE
fs_make() {
	case $1 in
	ext4) mkfs.ext4 -q -F -b 4096 "$2" ;;
	xfs) mkfs.xfs -q -f "$2" ;;
	esac
}
fs_check() {
	case $1 in
	ext4) e2fsck -fn "$2" >/tmp/fsck 2>&1 || { cat /tmp/fsck; fail "e2fsck -fn $2 isn't clean"; } ;;
	xfs) xfs_repair -n "$2" >/tmp/fsck 2>&1 || { cat /tmp/fsck; fail "xfs_repair -n $2 isn't clean"; } ;;
	esac
}

# load_start FILE SIZE SECONDS [fio option…]: random writes with checksums in the background; load_wait judges them.
load_start() {
	lf=$1 ls=$2 lt=$3
	shift 3
	fio --name=load --filename="$lf" --size="$ls" --rw=randwrite --bs=4k --iodepth=8 --ioengine=libaio --direct=1 \
		--time_based --runtime="$lt" --verify=crc32c --verify_fatal=1 --do_verify=0 --serialize_overlap=1 --fallocate=none \
		--verify_backlog=64 --output=/tmp/fio.out "$@" &
	load_pid=$!
}
load_wait() {
	wait "$load_pid" || { cat /tmp/fio.out; fail "fio saw an error"; }
	grep -q 'err= 0' /tmp/fio.out || { cat /tmp/fio.out; fail "fio saw an error"; }
	grep -E 'IOPS|lat \(.*max|clat' /tmp/fio.out | head -4
}
