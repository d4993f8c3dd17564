#!/usr/bin/env bash
# limits.sh - what costs nothing, or should: idle volumes, large volumes, attaching.
#
#   idle      CPU of all processes with VOLUMES (100) idle attached volumes, in percent of one core (goal: under 1)
#   attach    from connecting to the first block read of a new 10 TiB volume, nbdkit being up (goal: under 100 ms)
#   memory    what nbdkit grows by for an idle attached volume of 1 TiB (goal: under 8 MiB)
#
# Environment: as bench.sh, and VOLUMES, IDLE_SECONDS (10).
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
WORK=${DIR:-$(mktemp -d /var/tmp/copyhold-bench.XXXXXX)}
IMAGE_MIB=256
VOLUMES=${VOLUMES:-100} IDLE_SECONDS=${IDLE_SECONDS:-10}
# shellcheck source-path=SCRIPTDIR source=benchlib.sh
. "$here/benchlib.sh"
# shellcheck source-path=SCRIPTDIR source=cluster.sh
. "$here/cluster.sh"

clients=()
finish() {
	[ ${#clients[@]} -eq 0 ] || kill "${clients[@]}" 2>/dev/null
	cluster_down nbdkit idle
	[ -n "${KEEP:-}" ] || rm -rf -- "$WORK"
}
resident_kib() { awk '/^VmRSS/ {print $2}' "/proc/$1/status"; }

# A client that holds a volume open, having read and written a block of it, says so on its output.
holder=$(cat <<-'PYTHON'
	import nbd, sys, time
	held = []
	for uri in sys.argv[1:]:
	    begun = time.monotonic()
	    h = nbd.NBD()
	    h.connect_uri(uri)
	    h.pread(4096, 0)
	    print("%.1f" % ((time.monotonic() - begun) * 1000), flush=True)
	    held.append(h)
	print("held", flush=True)
	sys.stdin.read()
PYTHON
)
hold() { # OUTPUT URI... : in the background
	local output=$1
	shift
	sleep infinity | /usr/bin/python3 -c "$holder" "$@" >"$output" 2>&1 &
	clients+=($!)
	wait_for 120 "a client" grep -q held "$output"
}

need nbdkit jq python3
/usr/bin/python3 -c 'import nbd' || die "the Debian package python3-libnbd is missing"
init_work
trap finish EXIT
cluster_up
ctl volume create huge --size 10T >/dev/null || die "volume create"
ctl volume create large --size 1T >/dev/null || die "volume create"
nbdkit_up nbdkit -t 16
nbdkit_up idle -t 16
pids_of nbdkit
uri() { echo "nbd+unix:///$2?socket=$WORK/run/$1.sock"; }

hold "$WORK/log/attach.out" "$(uri nbdkit huge)"
printf 'attach of a 10 TiB volume to its first block: %s ms (goal: under 100)\n' "$(head -n 1 "$WORK/log/attach.out")"

before=$(resident_kib "${SERVER_PIDS[0]}")
hold "$WORK/log/memory.out" "$(uri nbdkit large)"
after=$(resident_kib "${SERVER_PIDS[0]}")
printf 'memory of an idle attached 1 TiB volume: %d KiB (goal: under 8192)\n' $((after - before))

uris=()
for ((i = 1; i <= VOLUMES; i++)); do
	ctl volume create "idle$i" --size 1G >/dev/null || die "volume create"
	uris+=("$(uri idle "idle$i")")
done
hold "$WORK/log/idle.out" "${uris[@]}"
# shellcheck disable=SC2086
pids_of idle $CLUSTER_PROCESSES
sleep 3
cpu_pids "${SERVER_PIDS[@]}"
before=$REPLY
sleep "$IDLE_SECONDS"
cpu_pids "${SERVER_PIDS[@]}"
printf '%d idle attached volumes: %s %% of one core (goal: under 1)\n' "$VOLUMES" \
	"$(awk -v t=$((REPLY - before)) -v hz="$CLK_TCK" -v s="$IDLE_SECONDS" 'BEGIN {printf "%.1f", t * 100 / hz / s}')"
