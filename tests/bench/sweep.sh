#!/usr/bin/env bash
# sweep.sh - more of the same volume: IOPS by depth and by number of volumes, latency distribution, CPU by process; plot.py draws them.
#
# Writes depth.csv (rw,depth,iops), volumes.csv (rw,volumes,iops), latency.csv (rw,percentile,us) and process.csv
# (workload,process,us per request) into OUT. Environment: as bench.sh; RUNTIME is the seconds of each point (5).
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
OUT=${OUT:-build/bench}
mkdir -p "$OUT"
WORK=${DIR:-$(mktemp -d /var/tmp/copyhold-bench.XXXXXX)}
RUNTIME=${RUNTIME:-5} IMAGE_MIB=${IMAGE_MIB:-4096}
# shellcheck source-path=SCRIPTDIR source=benchlib.sh
. "$here/benchlib.sh"
# shellcheck source-path=SCRIPTDIR source=cluster.sh
. "$here/cluster.sh"
VOLUMES=8
VOLUME_MIB=$((IMAGE_MIB / VOLUMES))

finish() {
	cluster_down nbdkit
	[ -n "${KEEP:-}" ] || rm -rf -- "$WORK"
}
uri() { echo "nbd+unix:///$1?socket=$WORK/run/nbdkit.sock"; }
run_fio() { # NAME RW DEPTH VOLUME... : the sum of IOPS in REPLY; JSON in the log; what fio has used until now in CLIENT
	local name=$1 rw=$2 depth=$3 volume jobs=()
	shift 3
	for volume in "$@"; do jobs+=(--name="$volume" --uri="$(uri "$volume")"); done
	fio --ioengine=nbd --rw="$rw" --bs=4k --size="${VOLUME_MIB}m" --iodepth="$depth" --direct=1 --norandommap --randrepeat=0 \
		--time_based --runtime="$RUNTIME" --output="$WORK/log/$name.json" --output-format=json "${jobs[@]}" >/dev/null ||
		die "fio failed; see $WORK/log/$name.json"
	cpu_children
	CLIENT=$REPLY
	REPLY=$(sed -n '/^{/,$p' "$WORK/log/$name.json" | jq '[.jobs[] | .read.iops + .write.iops] | add | round')
}
process_cpu() { # WORKLOAD RW DEPTH : what each process takes for a request
	local name i before=() after=() total
	for name in nbdkit $CLUSTER_PROCESSES; do alive "$name" && cpu_pids "$REPLY" && before+=("$REPLY"); done
	cpu_children && before+=("$REPLY")
	run_fio "cpu-$1" "$2" "$3" volume1
	total=$(sed -n '/^{/,$p' "$WORK/log/cpu-$1.json" | jq '[.jobs[] | .read.total_ios + .write.total_ios] | add')
	for name in nbdkit $CLUSTER_PROCESSES; do alive "$name" && cpu_pids "$REPLY" && after+=("$REPLY"); done
	after+=("$CLIENT")
	i=0
	for name in nbdkit $CLUSTER_PROCESSES fio; do
		awk -v w="$1" -v p="$name" -v t=$((after[i] - before[i])) -v hz="$CLK_TCK" -v n="$total" \
			'BEGIN {printf "%s,%s,%.2f\n", w, p, t / hz / n * 1e6}' >>"$OUT/process.csv"
		i=$((i + 1))
	done
}

need fio jq nbdkit
init_work
trap finish EXIT
cluster_up
names=()
for ((i = 1; i <= VOLUMES; i++)); do
	ctl volume create "volume$i" --size "${VOLUME_MIB}M" >/dev/null || die "volume create"
	names+=("volume$i")
done
nbdkit_up nbdkit -t 64
for name in "${names[@]}"; do
	# shellcheck disable=SC2034 # benchlib.sh reads it
	FIO_TARGET=(--ioengine=nbd --uri="$(uri "$name")")
	IMAGE_MIB=$VOLUME_MIB fill_target "$name"
done
echo rw,depth,iops >"$OUT/depth.csv"
echo rw,volumes,iops >"$OUT/volumes.csv"
echo rw,percentile,us >"$OUT/latency.csv"
echo workload,process,us >"$OUT/process.csv"
for rw in randwrite randread; do
	for depth in 1 2 4 8 16 32 64 128; do
		run_fio "$rw-$depth" $rw $depth volume1
		echo "$rw,$depth,$REPLY" >>"$OUT/depth.csv"
	done
	for count in 1 2 4 8; do
		run_fio "$rw-volumes$count" $rw 8 "${names[@]:0:count}"
		echo "$rw,$count,$REPLY" >>"$OUT/volumes.csv"
	done
	sed -n '/^{/,$p' "$WORK/log/$rw-1.json" | jq -r --arg rw $rw '.jobs[0] | (if .write.total_ios > 0 then .write else .read end)
		| .clat_ns.percentile | to_entries[] | [$rw, (.key | tonumber), .value / 1000] | @csv' | tr -d '"' >>"$OUT/latency.csv"
	process_cpu "$rw-4k-qd1" $rw 1
	process_cpu "$rw-4k-qd32" $rw 32
done
"$here/plot.py" "$OUT"
