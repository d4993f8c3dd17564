#!/usr/bin/env bash
# The store beside fio on the same file with the same flags (O_DIRECT, and O_DSYNC for writes), in one run.
# bench-store.sh BENCH_STORE [DIRECTORY] [SECONDS] [GIB-OF-DATA] [LOAD...]; prints a table in Markdown. No LOAD: all of them.
set -eu
bench=$1 directory=${2:-.} seconds=${3:-20} gib=${4:-2}
loads=("${@:5}")
[ ${#loads[@]} -gt 0 ] || loads=(write4k-qd1 write4k-qd32 write1m read4k-qd32)
file=$(mktemp "$directory/bench-store.XXXXXX")
trap 'rm -f "$file"' EXIT
fallocate -l "$((gib * 2))G" "$file"
# Every block is written once, so that neither side pays for the file's first writes.
dd if=/dev/zero of="$file" bs=4M count="$((gib * 512))" conv=notrunc oflag=direct status=none

fio_run() { # NAME OPTIONS...
	local name=$1
	shift
	fio --name="$name" --filename="$file" --direct=1 --ioengine=io_uring --size="${gib}G" \
		--runtime="$seconds" --time_based --output-format=json --group_reporting "$@"
}
fio_field() { # read|write
	jq -r ".jobs[0].$1 | \"\(.iops|floor) \(.bw_bytes/1048576|floor) \(.clat_ns.percentile.\"50.000000\"/1000|floor) \(.clat_ns.percentile.\"99.900000\"/1000|floor)\""
}
field() { sed -n "s/.*\b$1=\([0-9.]*\).*/\1/p" <<<"$line"; }

echo "| load | fio IOPS | store IOPS | share | fio p50 / p99.9 µs | store p50 / p99.9 µs | amplification | user CPU µs |"
echo "|---|---|---|---|---|---|---|---|"
for mode in "${loads[@]}"; do
	case $mode in
	write4k-qd1) set -- write --rw=randwrite --bs=4k --iodepth=1 --sync=dsync ;;
	write4k-qd32) set -- write --rw=randwrite --bs=4k --iodepth=32 --sync=dsync ;;
	write1m) set -- write --rw=write --bs=1m --iodepth=4 --sync=dsync ;;
	read4k-qd32) set -- read --rw=randread --bs=4k --iodepth=32 ;;
	*)
		echo "load $mode is not known" >&2
		exit 2
		;;
	esac
	kind=$1
	shift
	read -r f_iops _ f_p50 f_p999 < <(fio_run "$mode" "$@" | fio_field "$kind")
	line=$("$bench" "$file" "$mode" "$seconds" "$gib")
	printf '| %s | %s | %s | %s %% | %s / %s | %s / %s | %s | %s |\n' "$mode" "$f_iops" "$(field iops)" \
		"$(awk -v a="$(field iops)" -v b="$f_iops" 'BEGIN {printf "%.0f", 100 * a / b}')" \
		"$f_p50" "$f_p999" "$(field p50_us)" "$(field p999_us)" "$(field amplification)" "$(field user_us)"
done
