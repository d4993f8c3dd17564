#!/bin/bash
# ceph.sh - a 1-mon 1-mgr 3-OSD Ceph on loopback as a performance anchor.
#
#   ceph.sh start    create and start the cluster, pool, image and NBD export
#   ceph.sh bench    run the workloads through qemu-nbd/NBD and through librbd
#   ceph.sh stop     stop every process that `start` started
#   ceph.sh clean    stop, then remove the work directory
#   ceph.sh status   ceph -s
#
# Debian packages: ceph-mon ceph-mgr ceph-osd ceph-common qemu-utils
# qemu-block-extra fio jq. (apt-get install --no-install-recommends; keep a
# policy-rc.d that denies service starts: nothing here uses the services.)
#
# Environment: see benchlib.sh, and
#   CEPH_PORT   first of 100 loopback TCP ports       (default 17100)
#   OSD_MIB     size of each OSD's backing file       (default 8192)
#   OSD_MEM     osd_memory_target in bytes            (default 1 GiB)
#   PREFILL     1: write the backing files in full first, so that O_DIRECT
#               writes do not allocate in the host file system (default 1)
#   CEPH_STOCK  1: keep Ceph's default debug levels, that is in-memory debug
#               logging (default 0: every level 0/0, Ceph's best case). Read when
#               the cluster is created. cephx is off either way.
#   CLIENTS     which clients to bench: "nbd rbd" (default both)

set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
WORK=${WORK:-${TMPDIR:-/tmp}/ceph-lab}
# shellcheck source-path=SCRIPTDIR source=benchlib.sh
. "$here/benchlib.sh"

CEPH_PORT=${CEPH_PORT:-17100}
OSD_MIB=${OSD_MIB:-8192}
OSD_MEM=${OSD_MEM:-1073741824}
PREFILL=${PREFILL:-1}
CEPH_STOCK=${CEPH_STOCK:-0}
CLIENTS=${CLIENTS:-nbd rbd}
NOSD=3
POOL=rbd
IMAGE=img
CONF=$WORK/ceph.conf
SOCK=$WORK/run/rbd.sock
export CEPH_CONF=$CONF # read by ceph, rbd, and by librados inside fio

write_conf() {
	local fsid
	fsid=$(cat /proc/sys/kernel/random/uuid)
	cat >"$CONF" <<-CONF
	[global]
	fsid = $fsid
	mon_host = [v2:127.0.0.1:$CEPH_PORT/0]
	public_addr = 127.0.0.1
	cluster_addr = 127.0.0.1
	ms_bind_msgr1 = false
	ms_bind_port_min = $((CEPH_PORT + 10))
	ms_bind_port_max = $((CEPH_PORT + 99))
	auth_cluster_required = none
	auth_service_required = none
	auth_client_required = none
	run_dir = $WORK/run
	admin_socket = $WORK/run/\$name.asok
	log_file = $WORK/log/\$name.log
	crash_dir = $WORK/log
	mon_cluster_log_file = $WORK/log/cluster.log
	osd_pool_default_size = 3
	osd_pool_default_min_size = 2
	osd_crush_chooseleaf_type = 0
	osd_pool_default_pg_autoscale_mode = off
	mon_warn_on_insecure_global_id_reclaim = false
	mon_warn_on_insecure_global_id_reclaim_allowed = false
	[mon]
	mon_data = $WORK/data/mon
	[mgr]
	mgr_data = $WORK/data/mgr
	mgr_initial_modules =
	[osd]
	osd_data = $WORK/data/osd.\$id
	osd_objectstore = bluestore
	osd_memory_target = $OSD_MEM
	bluestore_block_create = true
	bluestore_block_size = $((OSD_MIB * 1048576))
	# The backing files look rotational when the disk below claims to be:
	# pin the SSD settings in the object store and in the op queues.
	bluestore_debug_enforce_settings = ssd
	osd_op_num_shards = 8
	osd_op_num_threads_per_shard = 2
	[client]
	# A write is acknowledged when the replicas have it, not from a cache.
	rbd_cache = false
	CONF
	[ "$CEPH_STOCK" = 1 ] && return
	local d
	echo "[global]" >>"$CONF"
	for d in ms osd bluestore bluefs bdev rocksdb filestore journal mon monc auth \
		paxos mgr mgrc objclass objecter objectcacher rados rbd client optracker \
		throttle timer tp asok finisher heartbeatmap perfcounter none lockdep context crush; do
		echo "debug_$d = 0/0" >>"$CONF"
	done
}

osds_up() { [ "$(ceph --connect-timeout 5 osd stat -f json 2>/dev/null | jq .num_up_osds)" = $NOSD ]; }
pgs_clean() {
	ceph --connect-timeout 5 pg stat -f json 2>/dev/null |
		jq -e '(.pg_summary // .) | (.num_pg_by_state | length) == 1 and .num_pg_by_state[0].name == "active+clean"'
}

cmd_start() {
	need ceph ceph-mon ceph-mgr ceph-osd monmaptool rbd qemu-nbd jq
	alive mon && die "already running in $WORK"
	init_work
	local i fresh=0
	if [ ! -d "$WORK/data/mon" ]; then
		fresh=1
		write_conf
		mkdir -p "$WORK/data/mon" "$WORK/data/mgr"
		monmaptool --create --clobber --fsid "$(sed -n 's/^fsid = //p' "$CONF")" \
			--addv a "[v2:127.0.0.1:$CEPH_PORT]" "$WORK/monmap" >/dev/null || die monmaptool
		ceph-mon -i a -c "$CONF" --mkfs --monmap "$WORK/monmap" || die "mon mkfs"
	fi
	spawn mon ceph-mon -f -i a -c "$CONF"
	wait_for 30 "the monitor" ceph --connect-timeout 5 mon stat
	spawn mgr ceph-mgr -f -i x -c "$CONF"
	for ((i = 0; i < NOSD; i++)); do
		if [ ! -f "$WORK/data/osd.$i/whoami" ]; then
			local uuid
			uuid=$(cat /proc/sys/kernel/random/uuid)
			mkdir -p "$WORK/data/osd.$i"
			if [ "$PREFILL" = 1 ]; then
				log "writing osd.$i's backing file"
				dd if=/dev/zero of="$WORK/data/osd.$i/block" bs=4M count=$((OSD_MIB / 4)) \
					oflag=direct status=none || die "dd"
			fi
			[ "$(ceph osd new "$uuid")" = "$i" ] || die "osd new"
			ceph-osd -i "$i" -c "$CONF" --mkfs --osd-uuid "$uuid" >>"$WORK/log/mkfs.out" 2>&1 ||
				die "osd mkfs; see $WORK/log/mkfs.out"
		fi
		spawn "osd$i" ceph-osd -f -i "$i" -c "$CONF"
	done
	wait_for 60 "$NOSD OSDs" osds_up
	if [ $fresh = 1 ]; then
		ceph osd set noscrub >/dev/null 2>&1
		ceph osd set nodeep-scrub >/dev/null 2>&1
		ceph osd pool create $POOL 64 64 replicated replicated_rule >/dev/null 2>&1 || die "pool create"
		ceph osd pool set $POOL size 3 >/dev/null 2>&1
		ceph osd pool set $POOL min_size 2 >/dev/null 2>&1
		wait_for 120 "clean placement groups" pgs_clean
		rbd pool init $POOL || die "pool init"
		# plain image: no exclusive lock, no object map = the cheapest path
		rbd create --size "$IMAGE_MIB" --image-feature layering $POOL/$IMAGE || die "rbd create"
	fi
	rm -f "$SOCK"
	spawn qemu-nbd qemu-nbd -t -e 8 -k "$SOCK" -f raw --cache=none --discard=unmap \
		"rbd:$POOL/$IMAGE:id=admin:conf=$CONF"
	wait_for 20 "the NBD socket" test -S "$SOCK"
	if [ $fresh = 1 ]; then
		target nbd
		fill_target ceph-nbd
	fi
	log "Ceph is up: NBD nbd+unix:///?socket=$SOCK  CEPH_CONF=$CONF"
}

target() { # CLIENT
	case $1 in
	nbd)
		FIO_TARGET=(--ioengine=nbd --uri="nbd+unix:///?socket=$SOCK")
		pids_of mon mgr osd0 osd1 osd2 qemu-nbd
		;;
	rbd)
		# shellcheck disable=SC2034
		FIO_TARGET=(--ioengine=rbd --clientname=admin --pool="$POOL" --rbdname="$IMAGE")
		pids_of mon mgr osd0 osd1 osd2
		;;
	*) die "unknown client $1" ;;
	esac
}

cmd_bench() {
	need fio jq
	local c suffix=
	[ "$CEPH_STOCK" = 1 ] && suffix=-stock
	for c in $CLIENTS; do
		target "$c"
		idle_cpu "ceph-$c$suffix"
		bench_target "ceph-$c$suffix"
	done
	report
}

cmd_stop() {
	local n
	for n in qemu-nbd osd0 osd1 osd2 mgr mon; do stop_proc $n; done
	rm -f "$SOCK"
}

case ${1:-} in
start) cmd_start ;;
bench) cmd_bench ;;
stop) cmd_stop ;;
status) ceph -s ;;
clean) cmd_stop; rm -rf -- "$WORK/data" "$WORK/run" "$WORK/log" "$CONF" "$WORK/monmap" ;;
*) die "usage: $0 start|bench|stop|status|clean" ;;
esac
