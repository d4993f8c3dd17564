#!/usr/bin/env bash
# long.sh - random 4 KiB writes for long enough to fill the journals many times: is there a cliff?
#
# Prints the slowest, the median and the fastest second of SECONDS_LONG (600), and exits 1 if the slowest second has less than
# 70 % of the median's writes. Environment: as bench.sh; OUT gets iops.log, one line a second.
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
OUT=${OUT:-build/bench}
mkdir -p "$OUT"
WORK=${DIR:-$(mktemp -d /var/tmp/copyhold-bench.XXXXXX)}
IMAGE_MIB=${IMAGE_MIB:-4096}
# shellcheck source-path=SCRIPTDIR source=benchlib.sh
. "$here/benchlib.sh"
# shellcheck source-path=SCRIPTDIR source=cluster.sh
. "$here/cluster.sh"

finish() {
	cluster_down nbdkit
	[ -n "${KEEP:-}" ] || rm -rf -- "$WORK"
}
need fio jq nbdkit
init_work
trap finish EXIT
cluster_up
ctl volume list --json | jq -e '[.. | objects | select(.name == "bench")] | length > 0' >/dev/null ||
	ctl volume create bench --size "${IMAGE_MIB}M" >/dev/null || die "volume create"
nbdkit_up nbdkit -t 16
copyhold_target nbdkit bench
fill_target copyhold
rm -f "$WORK"/log/long*
fio --name=long "${FIO_TARGET[@]}" --size="${IMAGE_MIB}m" --rw=randwrite --bs=4k --iodepth=16 --direct=1 --norandommap \
	--time_based --runtime="${SECONDS_LONG:-600}" --write_iops_log="$WORK/log/long" --log_avg_msec=1000 \
	--output="$WORK/log/long.txt" || die "fio failed; see $WORK/log/long.txt"
# The first and the last second are not whole.
cut -d, -f2 "$WORK"/log/long_iops.1.log | sed '1d;$d' >"$OUT/iops.log"
sort -n "$OUT/iops.log" | awk '
	{ v[NR] = $1 }
	END {
		median = v[int((NR + 1) / 2)]
		printf "%d seconds: slowest %d/s, median %d/s, fastest %d/s; slowest / median %.2f (goal 0.70)\n", NR, v[1], median, v[NR], v[1] / median
		exit v[1] < 0.7 * median
	}'
