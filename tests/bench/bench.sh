#!/usr/bin/env bash
# bench.sh - Copyhold beside its reference points on the same machine, in turn: A B A B.
#
#   bench.sh [PEER...]      peers: quorum3-unix (default), ceph, nbdkit-mem
#
# A: a volume of three replicas on a cluster of its own (cluster.sh), through fio's nbd engine and nbdkit with the plugin.
# B: the same workloads on the peers, and floor.c: three processes that write 4 KiB each and do nothing else.
# All rows go to $OUT/results.csv (columns: benchlib.sh); the table compares the median of a target's runs with the median of its
# peer's in this run. What differs between two runs of this script is the machine; what counts is the ratios in one.
#
# Environment: benchlib.sh's (RUNTIME, RUNS, IMAGE_MIB, WORKLOADS), cluster.sh's, OUT (default build/bench), KEEP=1 keeps the data,
# DIR (default: a new directory in /var/tmp) has to take O_DIRECT and has to have room for 8 images.
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
OUT=${OUT:-build/bench}
mkdir -p "$OUT"
WORK=${DIR:-$(mktemp -d /var/tmp/copyhold-bench.XXXXXX)}
RUNTIME=${RUNTIME:-10} RUNS=${RUNS:-3} IMAGE_MIB=${IMAGE_MIB:-4096}
export WORK RUNTIME RUNS IMAGE_MIB
# shellcheck source-path=SCRIPTDIR source=benchlib.sh
. "$here/benchlib.sh"
# shellcheck source-path=SCRIPTDIR source=cluster.sh
. "$here/cluster.sh"
FLOOR_PORT=${FLOOR_PORT:-17400}

BENCH_WORKLOADS='randwrite-4k-qd1 randwrite-4k-qd32 randread-4k-qd1 randread-4k-qd32 seqwrite-1m-qd8 seqread-1m-qd8'

peers=("$@")
[ $# -gt 0 ] || peers=(quorum3-unix)

finish() {
	local peer
	set +e
	for peer in "${peers[@]}"; do
		if [ "$peer" = ceph ]; then "$here/ceph.sh" stop; else "$here/baselines.sh" stop "$peer"; fi
	done
	cluster_down nbdkit
	rm -f "$WORK"/floor.[0-9]
	[ -n "${KEEP:-}" ] || rm -rf -- "$WORK"
} >>"$OUT/end.log" 2>&1

select_target() { # TARGET -> FIO_TARGET, SERVER_PIDS
	case $1 in
	copyhold) copyhold_target nbdkit bench ;;
	ceph)
		FIO_TARGET=(--ioengine=nbd --uri="nbd+unix:///?socket=$WORK/run/rbd.sock")
		pids_of mon mgr osd0 osd1 osd2 qemu-nbd
		;;
	quorum3-*)
		FIO_TARGET=(--ioengine=nbd --uri="nbd+unix:///?socket=$WORK/run/$1.sock")
		pids_of "$1" "$1-c0" "$1-c1" "$1-c2"
		;;
	*)
		FIO_TARGET=(--ioengine=nbd --uri="nbd+unix:///?socket=$WORK/run/$1.sock")
		pids_of "$1"
		;;
	esac
}

run_floor() { # RUN : rows in floor.csv, "the cheapest that three durable copies can be"
	"$WORK/floor" sync 3 3 1 "$RUNTIME" "$WORK" "$FLOOR_PORT" | sed "s/^/$1,/" | tee -a "$OUT/floor.csv" >&2
}

main() {
	local peer target run name
	need fio jq nbdkit qemu-nbd
	init_work
	trap finish EXIT
	trap 'exit 130' INT TERM
	gcc -O2 -o "$WORK/floor" "$here/floor.c"
	echo "$CSV_HEAD" >"$WORK/results.csv"
	echo run,mode,replicas,quorum,depth,iops,mean_us,p99_us,client_cpu_us_per_io,replica_cpu_us_per_io >"$OUT/floor.csv"
	cluster_up
	ctl volume create bench --size "${IMAGE_MIB}M" >/dev/null || die "volume create"
	nbdkit_up nbdkit -t 16
	for peer in "${peers[@]}"; do
		if [ "$peer" = ceph ]; then "$here/ceph.sh" start; else "$here/baselines.sh" start "$peer"; fi || die "$peer did not start"
	done
	for target in copyhold "${peers[@]}"; do
		select_target "$target"
		[ "$target" = ceph ] || fill_target "$target"
	done
	for ((run = 1; run <= RUNS; run++)); do
		for name in $BENCH_WORKLOADS; do
			[ -z "${WORKLOADS:-}" ] || [[ " $WORKLOADS " == *" $name "* ]] || continue
			for target in copyhold "${peers[@]}"; do
				select_target "$target"
				run_workload "$target" "$name" "$run" || exit 1
			done
			[ "$name" != randwrite-4k-qd1 ] || run_floor "$run"
		done
	done
	cp "$WORK/results.csv" "$OUT/results.csv"
	mkdir -p "$OUT/fio" && cp "$WORK"/log/*.json "$OUT/fio/"
	"$here/table.sh" "$OUT" | tee "$OUT/table.md"
}
main
