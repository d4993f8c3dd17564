# shellcheck shell=bash
# cluster.sh - a Copyhold cluster for measurements; source it behind benchlib.sh.
#
# Three chunk servers on loopback TCP, of which the first is on the engine's host and is reached through its Unix socket; the
# other two claim to be on other hosts. Their disks are files that were written in full before, so that no write of the
# measurement makes the file system allocate. One nbdkit serves the volumes.
#
#   CLUSTER_PORT   first of 4 TCP ports (default 17500)
#   DISK_MIB       size of each chunk server's disk (default: the volume and a half, and 1 GiB)
#   BUILD          where the programs are (default: build)

BUILD=${BUILD:-build}
CLUSTER_PORT=${CLUSTER_PORT:-17500}
DISK_MIB=${DISK_MIB:-$((IMAGE_MIB * 3 / 2 + 1024))}
META=127.0.0.1:$CLUSTER_PORT
CLUSTER_PROCESSES='metad chunkd0 chunkd1 chunkd2'

ctl() { "$BUILD/copyhold" --meta "$META" "$@"; }

servers_are_up() { [ "$(ctl server list --json | jq '[.. | objects | select(.alive == true)] | length')" -ge 3 ]; }

disk_make() { # NAME
	local disk=$WORK/data/$1.disk
	[ -f "$disk" ] && return
	log "writing $1's disk ($DISK_MIB MiB)"
	dd if=/dev/zero of="$disk" bs=4M count=$((DISK_MIB / 4)) oflag=direct status=none || die "dd"
	"$BUILD/copyhold-chunkd" format "$disk" --force >"$WORK/log/format-$1.out" 2>&1 ||
		die "format failed; see $WORK/log/format-$1.out"
}

cluster_up() {
	local i
	mkdir -p "$WORK/data/meta"
	spawn metad "$BUILD/copyhold-metad" --data "$WORK/data/meta" --listen "$META"
	wait_for 20 metad tcp_open 127.0.0.1 "$CLUSTER_PORT"
	for i in 0 1 2; do
		local where=(--host "elsewhere$i" --node "node$i")
		[ $i -ne 0 ] || where=(--node node0 --local "unix:$WORK/run/chunkd0.sock")
		disk_make "chunkd$i"
		rm -f "$WORK/run/chunkd0.sock.$i"
		spawn "chunkd$i" "$BUILD/copyhold-chunkd" run --data "$WORK/data/chunkd$i.disk" --meta "$META" \
			--listen "127.0.0.1:$((CLUSTER_PORT + 1 + i))" "${where[@]}"
	done
	wait_for 30 "three chunk servers" servers_are_up
}

nbdkit_up() { # NAME [nbdkit argument]... : serves all volumes on a socket of that name
	local name=$1
	shift
	rm -f "$WORK/run/$name.sock"
	spawn "$name" nbdkit -f -U "$WORK/run/$name.sock" "$@" "$BUILD/nbdkit-copyhold-plugin.so" meta="$META"
	wait_for 20 "$name" test -S "$WORK/run/$name.sock"
}

copyhold_target() { # NBDKIT VOLUME
	# shellcheck disable=SC2034 # benchlib.sh reads it
	FIO_TARGET=(--ioengine=nbd --uri="nbd+unix:///$2?socket=$WORK/run/$1.sock")
	# shellcheck disable=SC2086
	pids_of "$1" $CLUSTER_PROCESSES
}

cluster_down() {
	local name
	for name in "$@" chunkd0 chunkd1 chunkd2 metad; do stop_proc "$name"; done
}
