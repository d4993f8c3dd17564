#!/bin/bash
# baselines.sh - reference points that have no replication engine of their own.
#
#   baselines.sh start [TARGET...]   bring targets up (default: all)
#   baselines.sh bench [TARGET...]   run the workloads on the targets that are up
#   baselines.sh stop  [TARGET...]   stop what `start` started
#   baselines.sh each  [TARGET...]   start, bench, stop and delete one at a time
#                                    (least memory, disk and interference)
#   baselines.sh clean               stop all and remove the work directory's data
#
# Targets:
#   nbdkit-mem    nbdkit memory plugin: the floor of NBD over a unix socket
#   nbdkit-file   nbdkit file plugin on a raw file (buffered: page cache)
#   qemu-raw      qemu-nbd, raw file, cache=none aio=io_uring
#   quorum3-tcp   qemu-nbd, quorum of 3 NBD children over loopback TCP, each
#                 child a qemu-nbd as in qemu-raw; vote-threshold 2
#                 (QEMU 7.2 does not set TCP_NODELAY in its NBD server:
#                 at depth the delayed-ACK timer dominates; see quorum3-kit)
#   quorum3-unix  the same with unix sockets between them
#   quorum3-kit   quorum over loopback TCP with nbdkit file children, which set
#                 TCP_NODELAY but write to the page cache until a flush
#   gluster-nbd   GlusterFS replica 3 (volume group "virt"), qemu-nbd gluster driver
#   gluster-api   the same volume through fio's gfapi_async engine
#
# Debian packages: fio jq nbdkit qemu-utils; for Gluster also glusterfs-server
# and qemu-block-extra. Gluster needs root (trusted.* xattrs).
#
# Environment: see benchlib.sh, and
#   BASE_PORT       first of 3 loopback TCP ports for quorum children (default 17300)
#   NBDKIT_THREADS  nbdkit -t (default 16, nbdkit's own default)
#   QUORUM_READ     quorum | fifo: read all children and vote, or read the
#                   first (default fifo; writes always go to all three)
#   GLUSTER_HOST    address of glusterd and of the bricks, which bind to it too;
#                   the CLI refuses 127.0.0.1 (default 127.0.0.2)

set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
WORK=${WORK:-${TMPDIR:-/tmp}/baselines-lab}
# shellcheck source-path=SCRIPTDIR source=benchlib.sh
. "$here/benchlib.sh"

BASE_PORT=${BASE_PORT:-17300}
NBDKIT_THREADS=${NBDKIT_THREADS:-16}
QUORUM_READ=${QUORUM_READ:-fifo}
GLUSTER_HOST=${GLUSTER_HOST:-127.0.0.2}
ALL_TARGETS='nbdkit-mem nbdkit-file qemu-raw quorum3-tcp quorum3-unix quorum3-kit gluster-nbd gluster-api'
VOL=bench

sock() { echo "$WORK/run/$1.sock"; }

wait_sock() { # NAME
	wait_for 20 "$1" test -S "$(sock "$1")"
}

raw_file() { # NAME -> REPLY: a fresh raw file
	REPLY=$WORK/data/$1.raw
	[ -f "$REPLY" ] || truncate -s "${IMAGE_MIB}M" "$REPLY"
}

# In the foreground nbdkit ends with its parent (it asks the kernel for SIGTERM then), and `start` ends: so in the background.
spawn_nbdkit() { # NAME nbdkit-argument...
	local pid_file=$WORK/run/$1.nbdkit
	rm -f "$pid_file"
	nbdkit -P "$pid_file" "${@:2}" </dev/null >"$WORK/log/$1.out" 2>&1 ||
		die "$1 did not start; see $WORK/log/$1.out"
	wait_for 20 "$1" test -s "$pid_file"
	adopt "$1" "$(cat "$pid_file")" || die "$1 has ended; see $WORK/log/$1.out"
}

uri_target() { # NAME SERVER...
	FIO_TARGET=(--ioengine=nbd --uri="nbd+unix:///?socket=$(sock "$1")")
	shift
	pids_of "$@"
}

qemu_raw() { # NAME LISTEN_ARGS... : one exported raw file, O_DIRECT + io_uring
	local name=$1
	shift
	raw_file "$name"
	spawn "$name" qemu-nbd -t -e 8 "$@" -f raw --cache=none --aio=io_uring "$REPLY"
}

# ---- quorum --------------------------------------------------------------

quorum_up() { # NAME tcp|kit|unix
	local i opts="driver=quorum,vote-threshold=2,blkverify=off,rewrite-corrupted=off,read-pattern=$QUORUM_READ"
	for i in 0 1 2; do
		if [ "$2" != unix ]; then
			if [ "$2" = tcp ]; then
				qemu_raw "$1-c$i" -b 127.0.0.1 -p $((BASE_PORT + i))
			else
				raw_file "$1-c$i"
				spawn_nbdkit "$1-c$i" -t "$NBDKIT_THREADS" -i 127.0.0.1 -p $((BASE_PORT + i)) file "$REPLY"
			fi
			wait_for 20 "$1-c$i" tcp_open 127.0.0.1 $((BASE_PORT + i))
			opts+=",children.$i.driver=nbd,children.$i.server.type=inet"
			opts+=",children.$i.server.host=127.0.0.1,children.$i.server.port=$((BASE_PORT + i))"
		else
			qemu_raw "$1-c$i" -k "$(sock "$1-c$i")"
			wait_sock "$1-c$i"
			opts+=",children.$i.driver=nbd,children.$i.server.type=unix"
			opts+=",children.$i.server.path=$(sock "$1-c$i")"
		fi
	done
	spawn "$1" qemu-nbd -t -e 8 -k "$(sock "$1")" --image-opts "$opts"
	wait_sock "$1"
}

# ---- GlusterFS -----------------------------------------------------------
# glusterd and the CLI must agree on the default port 24007, which gfapi also
# assumes; everything else lives in the work directory.

GD_RUN=$WORK/run/gluster
gcli() { gluster --mode=script --log-file="$WORK/log/gluster-cli.log" "$@"; }

gluster_pids() { # adopt the brick and self-heal processes that glusterd forked
	local f n
	while IFS= read -r f; do
		n=gl-$(basename "$f" .pid)
		adopt "${n//[^A-Za-z0-9._-]/_}" "$(cat "$f")" || :
	done < <(find "$GD_RUN" "$WORK/data/glusterd" -name '*.pid' ! -name glusterd.pid -size +0 2>/dev/null)
}

gluster_names() { (cd "$WORK/run" 2>/dev/null && for f in glusterd.pid gl-*.pid; do [ -f "$f" ] && echo "${f%.pid}"; done); }

gluster_up() {
	alive glusterd && return
	need glusterd gluster
	mkdir -p "$GD_RUN" "$WORK/data/glusterd" "$WORK"/data/brick{0,1,2}
	cat >"$WORK/glusterd.vol" <<-VOL
	volume management
	    type mgmt/glusterd
	    option working-directory $WORK/data/glusterd
	    option run-directory $GD_RUN
	    option transport-type socket
	    option transport.socket.bind-address $GLUSTER_HOST
	    option transport.socket.listen-port 24007
	    option transport.socket.keepalive-time 10
	    option transport.socket.keepalive-interval 2
	    option transport.socket.read-fail-log off
	    option ping-timeout 0
	    option event-threads 1
	    option max-port 60999
	end-volume
	VOL
	spawn glusterd glusterd -N -f "$WORK/glusterd.vol" -l "$WORK/log/glusterd.log" -p "$GD_RUN/glusterd.pid"
	wait_for 30 glusterd gcli volume list
	if ! gcli volume info $VOL >/dev/null 2>&1; then
		gcli volume create $VOL replica 3 \
			"$GLUSTER_HOST:$WORK/data/brick0" "$GLUSTER_HOST:$WORK/data/brick1" \
			"$GLUSTER_HOST:$WORK/data/brick2" force || die "volume create"
		gcli volume set $VOL group virt || die "group virt"
		gcli volume set $VOL storage.owner-uid 0 >/dev/null || :
	fi
	gcli volume status $VOL >/dev/null 2>&1 || gcli volume start $VOL || die "volume start"
	wait_for 30 "three bricks" gluster_bricks_up
	gluster_pids
	qemu-img create -q -f raw "gluster+tcp://$GLUSTER_HOST:24007/$VOL/img" "${IMAGE_MIB}M" ||
		die "cannot create the image in the volume"
}

gluster_bricks_up() { [ "$(gcli volume status $VOL detail 2>/dev/null | grep -c '^Online.*: Y')" = 3 ]; }

gluster_down() {
	local n
	gluster_pids
	alive glusterd && gcli volume stop $VOL force >/dev/null 2>&1
	for n in $(gluster_names); do stop_proc "$n"; done
}

# ---- targets -------------------------------------------------------------

up() { # TARGET
	local t=$1
	alive "$t" && { log "$t is already up"; return; }
	rm -f "$(sock "$t")"
	case $t in
	nbdkit-mem)
		need nbdkit
		spawn_nbdkit "$t" -t "$NBDKIT_THREADS" -U "$(sock "$t")" memory "${IMAGE_MIB}M"
		wait_sock "$t"
		;;
	nbdkit-file)
		need nbdkit
		raw_file "$t"
		spawn_nbdkit "$t" -t "$NBDKIT_THREADS" -U "$(sock "$t")" file "$REPLY"
		wait_sock "$t"
		;;
	qemu-raw)
		need qemu-nbd
		qemu_raw "$t" -k "$(sock "$t")"
		wait_sock "$t"
		;;
	quorum3-tcp) need qemu-nbd; quorum_up "$t" tcp ;;
	quorum3-unix) need qemu-nbd; quorum_up "$t" unix ;;
	quorum3-kit) need qemu-nbd nbdkit; quorum_up "$t" kit ;;
	gluster-nbd)
		need qemu-nbd
		gluster_up
		spawn "$t" qemu-nbd -t -e 8 -k "$(sock "$t")" -f raw --cache=none \
			"gluster+tcp://$GLUSTER_HOST:24007/$VOL/img"
		wait_sock "$t"
		;;
	gluster-api) gluster_up ;;
	*) die "unknown target $t" ;;
	esac
	log "$t is up"
}

select_target() { # TARGET -> FIO_TARGET, SERVER_PIDS; fails when it is not up
	local t=$1
	case $t in
	gluster-api)
		alive glusterd || return 1
		# shellcheck disable=SC2034
		FIO_TARGET=(--ioengine=gfapi_async --volume="$VOL" --brick="$GLUSTER_HOST" --filename=img)
		# shellcheck disable=SC2046
		pids_of $(gluster_names)
		;;
	gluster-nbd)
		alive "$t" || return 1
		# shellcheck disable=SC2046
		uri_target "$t" "$t" $(gluster_names)
		;;
	quorum3-*)
		alive "$t" || return 1
		uri_target "$t" "$t" "$t-c0" "$t-c1" "$t-c2"
		;;
	*)
		alive "$t" || return 1
		uri_target "$t" "$t"
		;;
	esac
}

down() { # TARGET
	local t=$1 i
	case $t in
	gluster-api) alive gluster-nbd || gluster_down ;;
	gluster-nbd) stop_proc "$t"; gluster_down ;;
	*)
		stop_proc "$t"
		for i in 0 1 2; do stop_proc "$t-c$i"; rm -f "$(sock "$t-c$i")"; done
		;;
	esac
	rm -f "$(sock "$t")"
}

wipe() { # TARGET
	case $1 in
	gluster-*) rm -rf -- "$WORK"/data/brick{0,1,2} "$WORK/data/glusterd" "$GD_RUN" ;;
	*) rm -f -- "$WORK/data/$1.raw" "$WORK/data/$1"-c{0,1,2}.raw ;;
	esac
}

bench_one() { # TARGET
	select_target "$1" || { log "$1 is not up, skipped"; return; }
	[ -f "$WORK/run/$1.filled" ] || { fill_target "$1" && touch "$WORK/run/$1.filled"; }
	bench_target "$1"
}

need fio jq
init_work
cmd=${1:-}
[ $# -gt 0 ] && shift
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $ALL_TARGETS
case $cmd in
start) for t in "$@"; do up "$t"; done ;;
bench) for t in "$@"; do bench_one "$t"; done; report ;;
stop) for t in "$@"; do down "$t"; rm -f "$WORK/run/$t.filled"; done ;;
each)
	for t in "$@"; do
		# in a subshell: a target that fails to start does not end the others
		(up "$t" && bench_one "$t") || log "$t failed"
		down "$t"
		wipe "$t"
		rm -f "$WORK/run/$t.filled"
	done
	report
	;;
clean)
	for t in $ALL_TARGETS; do down "$t"; done
	rm -rf -- "$WORK/data" "$WORK/run" "$WORK/log" "$WORK/glusterd.vol"
	;;
*) die "usage: $0 start|bench|stop|each|clean [TARGET...]" ;;
esac
