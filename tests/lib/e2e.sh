# e2e.sh - what the end-to-end tests stand on. A test is a script in tests/e2e that sources this file:
#
#   . "$(dirname "$0")/../lib/e2e.sh"
#
# It gets a directory of its own ($T), ports of its own, and its daemons end with it, whatever happens: everything that makes
# something pushes its undoing on a stack. A test passes by reaching its end; a failing command ends it (set -e).
# Nothing waits for a fixed time: wait_for waits for a condition.
#
# Programs come from $COPYHOLD_BUILD (default: build). Set E2E_KEEP=1 to keep $T.
# shellcheck shell=bash

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=$(cd "$TOP" && cd "${COPYHOLD_BUILD:-build}" && pwd)
PATH=$BUILD:$BUILD/tests/e2e:/usr/sbin:/sbin:$PATH
NAME=$(basename "$0" .sh)
# Short: paths of Unix sockets may have 107 characters. Disks of chunk servers need O_DIRECT, which not every /tmp has.
T=$(mktemp -d "${E2E_DIR:-/var/tmp}/ch-e2e.XXXXXX")

export COPYHOLD_RUNTIME=$T/run HOME=$T XDG_STATE_HOME=$T/state XDG_CONFIG_HOME=$T/config
unset COPYHOLD_META
mkdir -p "$COPYHOLD_RUNTIME"
cd "$T"

# ---- the end ----

undo_stack=()
on_exit() { undo_stack+=("$*"); }

clean_up() {
	local rc=$? i
	set +e
	trap - EXIT
	if [ "$rc" -ne 0 ] && [ "$rc" -ne 77 ]; then
		printf '%s failed (exit %d); the logs end with\n' "$NAME" "$rc" >&2
		find "$T" -name '*.log' -size +0 -print0 2>/dev/null | sort -z |
			while IFS= read -r -d '' log; do
				printf -- '--- %s\n' "${log#"$T"/}" >&2
				tail -n 15 "$log" >&2
			done
	fi
	for ((i = ${#undo_stack[@]} - 1; i >= 0; i--)); do
		eval "${undo_stack[i]}" >/dev/null 2>&1
	done
	[ -n "${E2E_KEEP:-}" ] || rm -rf --one-file-system "$T"
	exit "$rc"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

fail() {
	printf 'FAILED: %s\n' "$*" >&2
	exit 1
}

# Ends the test as skipped: this machine can't run it.
skip() {
	printf 'SKIP: %s\n' "$*"
	exit 77
}

need_root() { [ "$(id -u)" -eq 0 ] || skip "needs root, for block devices and mounts"; }
need_fuse() {
	need_root
	[ -c /dev/fuse ] || skip "this kernel has no FUSE (/dev/fuse)"
	[ -e /dev/loop-control ] || skip "this kernel has no loop devices (/dev/loop-control)"
}

say() { printf '%s\n' "-- $*"; }

# ---- waiting and checking ----

# wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds; the test fails, naming WHAT, if it doesn't in time.
wait_for() {
	local seconds=$1 what=$2 end
	shift 2
	end=$((SECONDS + seconds))
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || fail "$what: not after $seconds s"
		sleep 0.05
	done
}

# expect_failure PATTERN COMMAND...: COMMAND must fail, and say something that matches (grep -E, any case).
expect_failure() {
	local pattern=$1 output rc=0
	shift
	output=$("$@" 2>&1) || rc=$?
	[ $rc -ne 0 ] || fail "$*: succeeded, expected a failure matching \"$pattern\""
	[ $rc -lt 126 ] || fail "$*: exit $rc, expected a plain failure: $output"
	grep -qiE -- "$pattern" <<<"$output" || fail "$*: said \"$output\", expected \"$pattern\""
	say "refused as it should be: $(head -n 1 <<<"$output")"
}

# expect_equal WHAT ACTUAL EXPECTED
expect_equal() { [ "$2" = "$3" ] || fail "$1 is \"$2\", expected \"$3\""; }

process_is_alive() {
	local state
	state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 1
	[ -n "$state" ] && [ "$state" != Z ]
}

# kill_process SIGNAL PID: and waits for its end where the signal ends it.
kill_process() {
	kill "-$1" "$2"
	case $1 in STOP | CONT) return ;; esac
	wait_for 20 "pid $2 ends after SIG$1" process_is_gone "$2"
}
process_is_gone() { ! process_is_alive "$1"; }

# Held requests keep nbdkit from ending.
end_or_kill() {
	kill "$1" || return
	for _ in $(seq 200); do
		process_is_alive "$1" || return 0
		sleep 0.05
	done
	kill -KILL "$1"
}

# ---- a cluster ----

PLAYGROUND=$T/pg

# cluster_start [option of copyhold playground start]...
cluster_start() {
	local port=$((20000 + $$ % 2000 * 16))
	on_exit cluster_end
	copyhold playground start --dir "$PLAYGROUND" --port $port "$@"
	COPYHOLD_META=$(copyhold playground status --dir "$PLAYGROUND" --json | jq -r .meta)
	export COPYHOLD_META
}

# Again after a kill: starts what is missing.
cluster_restart() { copyhold playground start --dir "$PLAYGROUND"; }

cluster_end() {
	cluster_continue
	copyhold playground stop --dir "$PLAYGROUND"
}

# cluster_pid NAME: metad, chunkd-1, ...
cluster_pid() {
	copyhold playground status --dir "$PLAYGROUND" --json |
		jq -er --arg name "$1" '.processes[] | select(.name == $name and .alive) | .pid'
}
cluster_address() {
	copyhold playground status --dir "$PLAYGROUND" --json |
		jq -er --arg name "$1" '.processes[] | select(.name == $name) | .address'
}
cluster_kill() {
	local pid
	pid=$(cluster_pid "$1") || fail "$1 does not run"
	kill_process KILL "$pid"
}
# A stopped process can't be asked to end: let all go on.
cluster_continue() {
	local pid
	for pid in $(copyhold playground status --dir "$PLAYGROUND" --json | jq -r '.processes[] | select(.alive) | .pid'); do
		kill -CONT "$pid"
	done
}

cluster_is_healthy() { copyhold status --json | jq -e '.health == "ok" and (.chunks.total == .chunks.healthy)'; }
wait_until_healthy() { wait_for "${1:-60}" "the cluster is healthy" cluster_is_healthy; }

# Promise 6: every replica of every chunk is ACTIVE and they all have the same position. Chunk servers report positions when
# they start (and once a minute), so the cluster is restarted for it; nothing may be attached.
check_replicas() {
	copyhold playground stop --dir "$PLAYGROUND"
	copyhold playground start --dir "$PLAYGROUND"
	wait_for 30 "all replicas are ACTIVE and at the same position" replicas_agree
}
replicas_agree() {
	copyhold chunk list --json |
		jq -e 'all(.chunks[]; .active == .wanted and ([.replicas[].position] | unique | length == 1) and .replicas[0].position != null)'
}

# ---- disks that log what reaches them (power-cut) ----

disk_undo=()

# disks_with_log N: before cluster_start. The playground's first N chunk servers get block devices with a volatile cache whose every
# write and flush is in $T/diskN.writes: nbdkit's plugin of ours, nbdfuse, a loop device with direct IO.
disks_with_log() {
	local i device
	mkdir -p "$PLAYGROUND"
	for i in $(seq "$1"); do
		mkdir "$T/disk$i.mnt"
		nbdkit -f -U "$T/disk$i.sock" "$BUILD/tests/e2e/nbdkit-disk-log-plugin.so" \
			file="$T/disk$i.data" size=64M log="$T/disk$i.writes" 2>"$T/disk$i.nbdkit.log" &
		on_exit "kill $!"
		disk_undo+=("kill $! && wait $!")
		wait_for 30 "nbdkit listens" test -S "$T/disk$i.sock"
		nbdfuse "$T/disk$i.mnt/disk" "nbd+unix:///?socket=$T/disk$i.sock" 2>"$T/disk$i.nbdfuse.log" &
		on_exit "fusermount3 -u $T/disk$i.mnt"
		disk_undo+=("fusermount3 -u $T/disk$i.mnt && wait $!")
		wait_for 30 "nbdfuse shows the disk" test -f "$T/disk$i.mnt/disk"
		device=$(losetup --find --show --direct-io=on "$T/disk$i.mnt/disk")
		on_exit "losetup -d $device"
		disk_undo+=("losetup -d $device")
		# A short journal, which the test goes round many times.
		copyhold-chunkd format "$device" --journal 1M
		ln -s "$device" "$PLAYGROUND/chunkd-$i.disk"
	done
}

# When nobody uses them any more: the logs are complete.
release_disks() {
	local i
	for ((i = ${#disk_undo[@]} - 1; i >= 0; i--)); do
		eval "${disk_undo[i]}" || fail "${disk_undo[i]}"
	done
	disk_undo=()
}

# volume_chunks VOLUME: the ids of its chunks in their order, with commas.
volume_chunks() { copyhold chunk list --volume "$1" --json | jq -r '[.chunks | sort_by(.index)[].chunk] | join(",")'; }

# ---- volumes ----

# serve VOLUME SOCKET-NAME [plugin parameter]...: nbdkit with our plugin in the background. Sets SERVER_PID and URI.
serve() {
	local volume=$1 socket=$T/$2 log=$T/$2.nbdkit.log
	shift 2
	rm -f "$socket"
	nbdkit -f -U "$socket" "$BUILD/nbdkit-copyhold-plugin.so" "meta=$COPYHOLD_META" "volume=$volume" "$@" >>"$log" 2>&1 &
	SERVER_PID=$!
	# shellcheck disable=SC2034
	URI="nbd+unix:///$volume?socket=$socket"
	on_exit "end_or_kill $SERVER_PID"
	wait_for 30 "nbdkit listens on $socket" serves "$socket" "$SERVER_PID"
}
serves() {
	process_is_alive "$2" || fail "nbdkit ended: $(cat "$1.nbdkit.log")"
	[ -S "$1" ]
}
# After a crash of its nbdkit: until the meta service has noticed that nobody holds the volume any more.
wait_until_free() { wait_for 30 "volume $1 is free" is_free "$1"; }
is_free() { copyhold volume show "$1" --json | jq -e '.volume.attached | . == null or .alive == false'; }
# end_server PID: in order.
end_server() {
	kill "$1"
	wait "$1" || fail "nbdkit (pid $1) ended with $?"
}

# attach VOLUME [option]...: through nbdfuse and a loop device. Sets DEVICE.
attach() {
	need_fuse
	DEVICE=$(copyhold attach "$1" --fuse "${@:2}")
	on_exit "copyhold detach $DEVICE --force"
	say "volume $1 is $DEVICE"
}

# mount_device DEVICE DIRECTORY
mount_device() {
	mkdir -p "$2"
	mount "$1" "$2"
	on_exit "umount -l $2"
}

free_megabytes() { df -m --output=avail "$T" | tail -n 1 | tr -d ' '; }
need_space() { [ "$(free_megabytes)" -ge "$1" ] || skip "needs $1 MB free in $T"; }

# True if the block device completes writes within the next moments.
writes_go_on() {
	local stat=/sys/block/${1##*/}/stat before after
	before=$(awk '{print $5}' "$stat")
	for _ in $(seq 20); do
		after=$(awk '{print $5}' "$stat")
		[ "$after" = "$before" ] || return 0
		sleep 0.05
	done
	return 1
}

# True if the journal has at least some hundred more records than when it was first asked about.
journal_grows() {
	local size
	size=$(stat -c %s "$1" 2>/dev/null) || return 1
	[ -n "${journal_seen[$1]:-}" ] || journal_seen[$1]=$size
	[ $((size - journal_seen[$1])) -gt 20000 ] || return 1
	unset "journal_seen[$1]"
}
declare -A journal_seen=()

# Reads the first MiB of an export.
nbdsh_read() { nbdcopy --allocated "$1" - | head -c 1048576 >/dev/null; }

# How many IO errors of a device the kernel has told of since it started.
kernel_errors() { dmesg 2>/dev/null | grep -c "error.* dev ${1##*/}[, ]" || true; }

# ---- filesystems on an attached volume ----

# attach_filesystem VOLUME MKFS...: a new volume, attached ($DEVICE) and mounted on $T/mnt with what MKFS makes.
attach_filesystem() {
	need_fuse
	cluster_start
	copyhold volume create "$1" --size 1G
	attach "$1"
	"${@:2}" "$DEVICE"
	mount_device "$DEVICE" "$T/mnt"
}

# filesystem_keeps_everything MKFS CHECK: verified random IO and a tree of files; everything again after unmount, detach and a new
# attach, and the filesystem's CHECK finds nothing. The two are commands that take the device.
filesystem_keeps_everything() {
	local load=(--name=verify --directory="$T/mnt" --size=128M --rw=randrw --bsrange=512-128k --blockalign=512
		--ioengine=libaio --iodepth=16 --verify=crc32c --verify_fatal=1 --io_size=160M --randseed=7)
	local make check
	read -ra make <<<"$1"
	read -ra check <<<"$2"
	attach_filesystem disk "${make[@]}"
	say "writing and verifying"
	fio "${load[@]}" --minimal >"$T/fio.log" || fail "fio: $(cat "$T/fio.log")"
	cp -a /usr/include "$T/mnt/tree"
	(cd "$T/mnt" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$T/sums"
	umount "$T/mnt"

	say "attaching it anew"
	copyhold detach "$DEVICE"
	attach disk
	"${check[@]}" "$DEVICE" || fail "the filesystem is damaged"
	mount_device "$DEVICE" "$T/mnt"
	(cd "$T/mnt" && sha256sum --quiet -c "$T/sums") || fail "files differ"
	umount "$T/mnt"
	copyhold detach "$DEVICE"
	wait_until_healthy
	check_replicas
}

# load_survives_kills NAME: SIGKILL of one of the cluster's processes, twice, under a mounted filesystem with load: no IO error.
load_survives_kills() {
	local errors_before load round
	attach_filesystem disk mkfs.ext4 -q
	errors_before=$(kernel_errors "$DEVICE")
	fio --name=load --directory="$T/mnt" --size=96M --rw=randrw --bs=16k --direct=1 --ioengine=libaio --iodepth=8 \
		--time_based --runtime=15 --verify=crc32c --verify_fatal=1 --verify_backlog=256 --minimal >"$T/fio.log" 2>&1 &
	load=$!
	on_exit "kill $load"
	wait_for 20 "the load runs" test -s "$T/mnt/load.0.0"
	for round in 1 2; do
		wait_for 10 "IO goes on" writes_go_on "$DEVICE"
		say "round $round: SIGKILL of $1"
		cluster_kill "$1"
		wait_for 20 "IO goes on without it" writes_go_on "$DEVICE"
		cluster_restart
	done
	wait $load || fail "fio: $(cat "$T/fio.log")"
	expect_equal "IO errors that the kernel saw" "$(kernel_errors "$DEVICE")" "$errors_before"
	umount "$T/mnt"
	e2fsck -fn "$DEVICE" || fail "the filesystem is damaged"
	wait_until_healthy 90
	copyhold detach "$DEVICE"
	check_replicas
}
