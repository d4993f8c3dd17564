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
	echo "--- last kernel messages"; dmesg | sed "1,/Run \/init/d" | tail -40
	echo "--- /run/copyhold"
	for f in /run/copyhold/*/*/log; do [ -f "$f" ] && { echo "== $f"; tail -20 "$f"; }; done
	echo "--- processes"; ps | grep -v '\[' | tail -30
}

# With -i eio writes fail from here on: what prepares them must not be what fails.
inject_from_here() { : >/var/inject; }

# fs_make ext4|xfs DEVICE
fs_make() {
	case $1 in
	ext4) mkfs.ext4 -q -F -b 4096 "$2" ;;
	# The three variables are how xfs's own tests allow filesystems below 300 MB, with a log that is soon written.
	xfs) TEST_DIR=1 TEST_DEV=1 QA_CHECK_FS=1 mkfs.xfs -q -f -l size=8m "$2" ;;
	esac
}
fs_check() {
	case $1 in
	ext4) e2fsck -fn "$2" >/tmp/fsck 2>&1 || { cat /tmp/fsck; fail "e2fsck -fn $2 isn't clean"; } ;;
	xfs) xfs_repair -n "$2" >/tmp/fsck 2>&1 || { cat /tmp/fsck; fail "xfs_repair -n $2 isn't clean"; } ;;
	esac
}

# ---- volumes: of the cluster on the host, or (VM_STOCK) files behind nbdkit's file plugin ----

needs_cluster() { [ -z "$VM_STOCK" ] || { say "SKIP: there is no cluster: build copyhold-chunkd"; exit 77; }; }
cluster() { [ -n "$VM_STOCK" ] || host cluster "${1:-3}"; }

# volume_make NAME MEGABYTES
volume_make() {
	if [ -n "$VM_STOCK" ]; then truncate -s "$2M" "/tmp/volume.$1"; else host volume "$1" "$2M"; fi
}
# volume_attach NAME [CONNECTIONS [OPTION…]]: prints the device
volume_attach() {
	va_name=$1 va_connections=${2:-1}
	[ $# -le 2 ] && shift $# || shift 2
	if [ -n "$VM_STOCK" ]; then
		attach-stock attach "$va_name" "" "$va_connections"
	else
		copyhold attach "$va_name" --connections "$va_connections" "$@"
	fi
}
volume_upgrade() { copyhold attach "$1" --upgrade --meta none; }
volume_detach() { copyhold detach "$@"; }

attachment() { # NAME FIELD: of the attachment's state
	sed -n 's/.*"'"$2"'": "\{0,1\}\([^",]*\).*/\1/p' "/run/copyhold/nbd/$1/attachment.json" | head -1
}
pid_of() { # NAME nbdkit|supervisor
	sed -n '/"'"$2"'": {/,/}/s/.*"pid": \([0-9]*\).*/\1/p' "/run/copyhold/nbd/$1/attachment.json"
}

# How many requests of nbdN have ended, and how many are under way.
io_done() { awk '{print $1 + $5 + $12 + $16}' "/sys/block/$1/stat"; }
# io_goes_on nbdN SECONDS: requests are being answered.
io_moved() { [ "$(io_done "$1")" -gt "$2" ]; }
io_goes_on() { wait_for "$2" io_moved "$1" "$(($(io_done "$1") + 20))"; }

# load_start NAME FILE MEGABYTES [fio option…]: random writes in the background, each block with a checksum of its own and read
# again soon after, until load_stop NAME, which judges them.
load_start() {
	ld_name=$1 ld_file=$2 ld_size=$3
	shift 3
	# The file is there first, so that IO from now on is fio's.
	[ -b "$ld_file" ] || dd if=/dev/zero of="$ld_file" bs=1M count="$ld_size" conv=fsync 2>/dev/null
	inject_from_here
	fio --name="$ld_name" --filename="$ld_file" --size="${ld_size}M" --rw=randwrite --bs=4k --iodepth=16 --ioengine=libaio \
		--direct=1 --time_based --runtime=600 --verify=crc32c --verify_fatal=1 --verify_backlog=64 \
		--serialize_overlap=1 --fallocate=none --eta=never --output="/tmp/$ld_name.fio" "$@" </dev/null &
	eval "load_pid_$ld_name=$!"
}
load_stop() {
	eval "lw_pid=\$load_pid_$1"
	kill -INT "$lw_pid" || { cat "/tmp/$1.fio"; fail "fio has ended before its time"; }
	wait "$lw_pid" || :
	grep -q 'terminating on signal 2' "/tmp/$1.fio" && grep -q 'err= 0' "/tmp/$1.fio" || {
		cat "/tmp/$1.fio"
		fail "fio saw an error"
	}
	say "load $1: $(sed -n 's/^ *write: \(IOPS=[^,]*\).*(\([^)]*\)).*/\1 \2/p' "/tmp/$1.fio"), slowest $(longest "$1") ms"
}
# The longest that a request took, in ms: the pause that a user saw.
longest() {
	sed -n 's/^ *lat (\([mun]*\)sec): min=.*max= *\([0-9.]*\)\(k\{0,1\}\),.*/\1 \2 \3/p' "/tmp/$1.fio" |
		awk '{v = $2; if ($3 == "k") v *= 1000; if ($1 == "u") v /= 1000; if ($1 == "n") v /= 1000000; if (v > m) m = v} END {printf "%d", m}'
}
