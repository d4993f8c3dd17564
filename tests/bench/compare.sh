#!/usr/bin/env bash
# compare.sh - builds of Copyhold beside each other on one machine, in turn: A B A B.
#
#   compare.sh prepare NAME BUILD  disks for a cluster of the programs in BUILD, with a volume that is filled; they stay until `clean`
#   compare.sh run NAME...         the workloads on each of these in turn, RUNS times; all rows, and the median of each
#   compare.sh clean               deletes all that was prepared
#
# A machine differs more from hour to hour than builds do: only what ran in turn, and while nothing else ran, can be compared.
# NAME quorum3-unix is the peer of bench.sh, and floor is floor.c; neither has a BUILD.
#
# Environment: benchlib.sh's (RUNTIME (3), RUNS (3), IMAGE_MIB (2048)), WORKLOADS (names as bench.sh's, of any depth), DIR, CLUSTER_PORT (the first cluster's).
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:-/var/tmp/copyhold-compare}
RUNTIME=${RUNTIME:-3} RUNS=${RUNS:-3} IMAGE_MIB=${IMAGE_MIB:-2048}
WORKLOADS=${WORKLOADS:-randwrite-4k-qd1 randread-4k-qd1}
FIRST_PORT=${CLUSTER_PORT:-17600}
export RUNTIME IMAGE_MIB

use() { # NAME : the cluster of that name is what benchlib.sh and cluster.sh work on
	WORK=$DIR/$1
	init_work
	[ ! -f "$WORK/build" ] || BUILD=$(cat "$WORK/build")
	[ ! -f "$WORK/port" ] || CLUSTER_PORT=$(cat "$WORK/port")
	META=127.0.0.1:$CLUSTER_PORT
}
up() { # NAME
	use "$1"
	case $1 in
	floor) gcc -O2 -o "$WORK/floor" "$here/floor.c" || die "floor.c does not compile" ;;
	quorum3-unix) WORK=$WORK "$here/baselines.sh" start "$1" || die "$1 did not start" ;;
	*)
		[ -x "$BUILD/copyhold-chunkd" ] || die "$1 was not prepared, or its build has gone"
		cluster_up
		ctl volume list --json | jq -e '[.. | objects | select(.name == "bench")] | length > 0' >/dev/null ||
			ctl volume create bench --size "${IMAGE_MIB}M" >/dev/null || die "volume create"
		nbdkit_up nbdkit -t 16
		;;
	esac
}
down() { # NAME
	use "$1"
	case $1 in
	floor) rm -f "$WORK"/floor.[0-9] ;;
	quorum3-unix) "$here/baselines.sh" stop "$1" ;;
	*) cluster_down nbdkit ;;
	esac
}
down_all() {
	local name
	for name in $(names); do down "$name"; done
}
prepare() { # NAME [BUILD]
	local clusters
	[ "$1" != floor ] || return
	use "$1"
	if [ "$1" != quorum3-unix ]; then
		[ -x "$2/copyhold-chunkd" ] || die "$2 holds no build"
		(cd "$2" && pwd) >"$WORK/build"
		clusters=$(cat "$DIR"/*/port 2>/dev/null | wc -l)
		[ -f "$WORK/port" ] || echo $((FIRST_PORT + 10 * clusters)) >"$WORK/port"
	fi
	[ ! -f "$WORK/filled" ] || return
	up "$1"
	select_target "$1"
	fill_target "$1" && touch "$WORK/filled"
}
select_target() { # NAME -> FIO_TARGET, SERVER_PIDS
	use "$1"
	if [ "$1" = quorum3-unix ]; then
		# shellcheck disable=SC2034 # benchlib.sh reads it
		FIO_TARGET=(--ioengine=nbd --uri="nbd+unix:///?socket=$WORK/run/$1.sock")
		pids_of "$1" "$1-c0" "$1-c1" "$1-c2"
	else
		copyhold_target nbdkit bench
	fi
}
run_floor() { # RUN : floor.c's columns as those of results.csv
	"$WORK/floor" sync 3 3 1 "$RUNTIME" "$WORK" $((FIRST_PORT - 10)) |
		awk -F, -v run="$1" '{ printf "floor,randwrite-4k-qd1,%d,%s,,%s,%s,,,,,,,,\n", run, $5, $6, $7 }' | tee -a "$WORK/results.csv" >&2
}
run() { # NAME...
	local name run workload
	for name in "$@"; do
		up "$name"
		echo "$CSV_HEAD" >"$WORK/results.csv"
	done
	for workload in $WORKLOADS; do
		for ((run = 1; run <= RUNS; run++)); do
			for name in "$@"; do
				if [ "$name" = floor ]; then
					use floor
					[ "$workload" != randwrite-4k-qd1 ] || run_floor "$run"
				else
					select_target "$name"
					run_workload "$name" "$workload" "$run" || exit 1
				fi
			done
		done
	done
	for name in "$@"; do cat "$DIR/$name/results.csv"; done | table
}
table() { # rows of results.csv -> the median and all values of each
	awk -F, '
	function all(key,    i, j, t, n, v, s) {
		n = count[key]
		for (i = 1; i <= n; i++) v[i] = value[key, i]
		for (i = 1; i < n; i++) for (j = i + 1; j <= n; j++) if (v[j] < v[i]) { t = v[i]; v[i] = v[j]; v[j] = t }
		for (i = 1; i <= n; i++) s = s " " value[key, i]
		return sprintf("%9.1f (%s)", n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2, substr(s, 2))
	}
	function add(key, x) { value[key, ++count[key]] = x }
	$1 == "target" { next }
	{
		k = $2 "," $1
		if (!(k in seen)) { seen[k] = 1; keys[++n] = k }
		add(k "iops", $4); add(k "mean", $6); add(k "p99", $7); add(k "cpu", $13 * 1000); add(k "foreign", $14)
	}
	END {
		for (i = 1; i <= n; i++) {
			k = keys[i]
			printf "%s\n   IOPS %s\n   mean %s\n   p99  %s\n   CPU  %s\n   other work %% %s\n", k, all(k "iops"), all(k "mean"), all(k "p99"), all(k "cpu"), all(k "foreign")
		}
	}'
}
names() { (cd "$DIR" 2>/dev/null && ls); }

WORK=$DIR
# shellcheck source-path=SCRIPTDIR source=benchlib.sh
. "$here/benchlib.sh"
# shellcheck source-path=SCRIPTDIR source=cluster.sh
. "$here/cluster.sh"
export WORK
need fio jq nbdkit
command=${1:-}
[ $# -eq 0 ] || shift
case $command in
prepare | run)
	trap down_all EXIT
	trap 'exit 130' INT TERM
	"$command" "$@"
	;;
clean) down_all && rm -rf -- "$DIR" ;;
*) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
